"""Recipe, augmentation and sampling by identity for training face embeddings."""
