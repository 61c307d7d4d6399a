"""What is made of benchmark reports: comparisons of two reports, and pages."""
