"""What GitHub's events say about installations, repositories and hooks: the handlers that Hookline brings along."""
