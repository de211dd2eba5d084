"""A Django app for the tests of handlers that start processes."""
