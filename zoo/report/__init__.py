"""HTML report of an evaluation: scores, followed by an error analysis."""
