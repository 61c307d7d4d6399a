"""The commands for signed and encrypted artefacts."""
