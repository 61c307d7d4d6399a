"""The Faster R-CNN head: anchors, proposals, RoI align, non-maximum suppression."""
