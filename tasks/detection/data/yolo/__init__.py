"""Datasets in the format of YOLO: their layout, the files that describe them, and their labels."""
