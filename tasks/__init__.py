"""The tasks: one folder each, found by the registry when a task is first looked up."""
