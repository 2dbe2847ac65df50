"""The flow: speech tokens and a voice → mel frames, whole or chunk by chunk."""
