"""Running Hookline: the quickstart behind `make run`, with its supervisor's configuration."""
