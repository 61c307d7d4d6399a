"""Splitting of datasets into parts that share no group and no person: `zoo data split`."""
