"""Face predictions: results for images, embedding files and report examples."""
