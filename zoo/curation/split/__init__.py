"""A data set into parts that share no group and no person: `zoo data split`."""
