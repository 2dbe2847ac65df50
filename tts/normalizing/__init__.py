"""What is written → what is said, one kind of thing per module. Knows nothing of segments, engines or voices."""
