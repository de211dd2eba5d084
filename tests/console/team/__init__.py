"""A team's app, as the console's tests and pictures show it."""
