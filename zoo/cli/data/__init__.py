"""The `zoo data` commands: check, convert, split and show."""
