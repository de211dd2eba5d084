"""A Django app for the tests of probes: a handler that holds its process for as long as the test wants."""
