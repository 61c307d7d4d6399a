"""Robustness of a model: scores on corrupted images and under adversarial attacks."""
