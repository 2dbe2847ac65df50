"""Samples and bytes: sound is levelled, trimmed, joined, resampled, decoded and encoded."""
