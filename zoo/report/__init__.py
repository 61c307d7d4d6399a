"""HTML report of an evaluation: the scores first, then an analysis of the errors."""
