"""Dataset tools: check, convert, split and show."""
