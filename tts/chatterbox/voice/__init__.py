"""Voices: a reference recording → what conditions the token model and the flow, and its cache on disk."""
