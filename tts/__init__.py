"""Text and a voice in, samples out. Knows nothing of jobs, bytes or doors."""
