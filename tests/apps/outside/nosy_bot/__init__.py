"""An app from outside whose handler looks for secrets. It joins through HOOKLINE_APPS and PYTHONPATH alone."""
