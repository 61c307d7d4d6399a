"""Tests of `zoo.serving`; they need the extra `serve`."""
