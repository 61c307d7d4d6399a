"""Predict on pictures, folders, videos and cameras."""
