"""A team's app, as it is copied into an image."""
