"""Training: loop, optimiser, checkpoints, tracking and report."""
