"""Data sets from one format into another: `zoo data convert`."""
