"""A small app from outside the repository's packages. It joins through HOOKLINE_APPS and PYTHONPATH alone."""
