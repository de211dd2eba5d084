"""Example: keep a table of merged pull requests."""
