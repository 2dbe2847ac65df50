"""What a job means, by queue or by HTTP."""

__version__ = "0.1.0"
