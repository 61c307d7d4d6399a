"""Conversion of datasets between formats: `zoo data convert`."""
