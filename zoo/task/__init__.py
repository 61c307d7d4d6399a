"""The contract between a task and the core."""
