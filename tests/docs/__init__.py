"""Tests of README.md, CONTRIBUTING.md, CHANGELOG.md and docs/: code blocks run, links have targets, the reference is complete."""
