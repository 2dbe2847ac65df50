"""What a job means, whichever door it came in by."""

__version__ = "0.1.0"
