"""Training of detectors: recipe, augmentation, and batches grouped by orientation."""
