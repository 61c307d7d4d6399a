"""Annotation formats of detection: targets, arrays for scoring, COCO ids and outlines, and the layout of YOLO datasets."""
