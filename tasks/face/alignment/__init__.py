"""Face alignment: of images, folders and datasets, and the cache of aligned faces."""
