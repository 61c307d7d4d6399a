"""Training of face embeddings: recipe, augmentation, sampling by identity."""
