"""The report of an evaluation: one HTML page with the scores first, then why the model fails."""
