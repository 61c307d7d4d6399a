"""Predictions of detectors: results, result files, examples, box fusion, agreement."""
