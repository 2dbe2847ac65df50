"""The HTTP door's own parts: addresses, shapes and limits. What a job means is not known here; that is `service`."""
