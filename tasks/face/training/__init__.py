"""Training of face embeddings: recipe, augmentation and sampling by identity."""
