"""Evaluation of models: scores, ensembles, test-time augmentation, comparison and robustness."""
