"""The Faster R-CNN head: anchors, proposals, RoI align and non-maximum suppression."""
