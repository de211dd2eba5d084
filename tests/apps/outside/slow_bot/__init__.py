"""An app from outside with a handler that takes its time. It joins through HOOKLINE_APPS and PYTHONPATH alone."""
