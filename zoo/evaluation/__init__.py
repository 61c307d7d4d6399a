"""Score models on data: evaluation, ensembles, test-time augmentation, comparison, robustness."""
