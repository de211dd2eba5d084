"""Apps with handlers, for tests: as teams have them."""
