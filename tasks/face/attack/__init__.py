"""White-box attacks on face verification."""
