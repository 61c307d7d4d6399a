"""Infrastructure: files, disk, cache, hardware, processes, progress, signals, seeding, logging."""
