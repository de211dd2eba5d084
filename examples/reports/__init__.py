"""Example: a slow job on a queue of its own."""
