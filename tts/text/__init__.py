"""A request's text → segments that an engine speaks."""
