"""Prediction on images, folders, videos and camera streams."""
