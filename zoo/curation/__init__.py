"""Dataset tools: checking, conversion, splitting and display."""
