"""Prediction on images, folders, videos and cameras."""
