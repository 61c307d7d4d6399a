"""Multi-label classification: the components for models that decide for each class independently whether it occurs in an image."""
