"""eSpeak NG, the engine of a laptop: a process of its own around the C library."""
