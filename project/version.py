"""Hookline's version. The image has no pyproject.toml to read it from; a test compares the two."""

VERSION = "0.1.0"
