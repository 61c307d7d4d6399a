"""`zoo serve`: an HTTP server that answers with the predictions of saved models."""
