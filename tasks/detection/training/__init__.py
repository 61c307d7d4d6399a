"""Recipe, augmentation, and batches grouped by orientation for training detectors."""
