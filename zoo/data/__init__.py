"""Data sets, samples, formats, and loaders."""
