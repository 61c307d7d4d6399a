"""Training of detectors: recipe, augmentation, batches by aspect ratio."""
