"""The vocoder: mel frames → samples, as a stream."""
