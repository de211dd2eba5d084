"""A team's app with two handlers, as it is copied into an image."""
