"""COCO average precision, the TIDE error breakdown, and the report of a detector's scores."""
