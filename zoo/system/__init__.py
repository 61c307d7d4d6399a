"""Plumbing: files, disk, caches, hardware, processes, progress, signals, seeding, logging."""
