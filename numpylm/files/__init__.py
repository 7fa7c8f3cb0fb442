"""Models on disk: checkpoints, transformers' folders, fetching by name."""
