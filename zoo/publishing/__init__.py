"""Publication of models in repositories of the Hub."""
