"""Handlers that call GitHub's API, as examples: `HOOKLINE_APPS=workers.catalog,workers.assistant`."""
