"""Face detection: MTCNN and other detectors, landmarks and quality checks."""
