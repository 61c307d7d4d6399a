"""Tests of multi-label classification."""
