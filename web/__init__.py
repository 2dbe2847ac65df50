"""The HTTP server: what arrives → a job's input; its events → bytes. What a job means is in `service`."""
