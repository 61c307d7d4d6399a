"""Annotation files in the format of PASCAL VOC: parsing, folders and lists. The boxes are read in `zoo.tasks.detection`."""
