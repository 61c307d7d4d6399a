"""Face detection: MTCNN and detection models, landmarks, and photo quality."""
