"""An app from outside that holds much as it is loaded. It joins through HOOKLINE_APPS and PYTHONPATH alone."""
