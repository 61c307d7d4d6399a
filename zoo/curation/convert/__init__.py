"""Conversion of datasets to other formats: `zoo data convert`."""
