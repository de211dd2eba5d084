"""An app from outside whose handler looks at its own process. It joins through HOOKLINE_APPS and PYTHONPATH alone."""
