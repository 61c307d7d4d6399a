"""Training: loop, optimiser, checkpoints, experiment tracking and report."""
