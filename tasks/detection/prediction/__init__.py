"""Predictions of detectors: result objects, results files, examples, box fusion and agreement."""
