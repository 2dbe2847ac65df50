"""hibari, the English engine of a laptop: a small network on onnxruntime, its weights inside its package."""
