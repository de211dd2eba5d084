"""A team's app, as the drains install it: handlers of a known length."""
