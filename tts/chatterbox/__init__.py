"""Resemble AI's Chatterbox: the only room that imports torch, and only when it is asked to load."""
