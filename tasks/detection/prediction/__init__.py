"""Detections of one picture: results, result files, examples, box fusion, agreement."""
