"""Training of detectors: recipe, augmentation, batches grouped by aspect ratio."""
