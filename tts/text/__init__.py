"""Text as a caller sends it → segments that an engine speaks."""
