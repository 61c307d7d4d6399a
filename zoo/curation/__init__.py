"""Work on data sets: check, convert, split, show."""
