"""Example: call an HTTP API, and try again when it is busy."""
