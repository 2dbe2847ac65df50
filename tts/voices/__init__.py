"""Voices by name: built in, kept in the library, or made of a recording."""
