"""The commands for signed artefacts."""
