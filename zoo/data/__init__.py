"""Datasets, samples, formats and loaders."""
