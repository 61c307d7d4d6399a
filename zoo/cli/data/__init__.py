"""`zoo data`: check, convert, split, show."""
