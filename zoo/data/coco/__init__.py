"""COCO's annotation files: layout of the folders, parsing, ids, and the images and categories of a file."""
