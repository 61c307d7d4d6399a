"""Annotation formats of detection: parsing and writing COCO, VOC, YOLO and CSV structures, and box targets."""
