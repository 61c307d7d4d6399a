"""The `zoo faces` commands."""
