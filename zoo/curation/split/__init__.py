"""Split datasets such that no group and no person is in several splits: `zoo data split`."""
