"""The handlers that come with Hookline: they store installations, repositories and hooks from GitHub's events."""
