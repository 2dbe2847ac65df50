"""Text and a voice in, samples out."""
