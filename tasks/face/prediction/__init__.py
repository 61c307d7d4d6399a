"""Face predictions: the result for an image, embedding files and examples."""
