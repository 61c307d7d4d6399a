"""Scoring models on data: evaluation, ensembles, test-time augmentation, comparison and robustness."""
