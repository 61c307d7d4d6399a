"""Evaluation of detections: COCO average precision, TIDE error breakdown, and report."""
