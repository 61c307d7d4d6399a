"""Face detection: MTCNN and other detectors, landmarks, quality checks."""
