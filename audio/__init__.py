"""Samples and bytes: how sound is shaped, resampled, decoded and encoded. Knows no model and no job."""
