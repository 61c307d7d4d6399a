"""Infrastructure: files, disk, cache, hardware, processes, progress, signals, reproducibility, logging."""
