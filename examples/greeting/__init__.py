"""Example: comment on a new pull request once."""
