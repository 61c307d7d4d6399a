"""Train a model: loop, optimiser, checkpoints, tracking, report."""
