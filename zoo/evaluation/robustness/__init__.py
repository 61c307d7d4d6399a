"""Robustness evaluation: scores on corrupted images and under adversarial attacks."""
