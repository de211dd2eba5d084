"""Loads the client of GitHub's API before a worker forks its children, which then share its memory."""


def load() -> None:
    """Load what a first call would load. It takes a second and some 40 MB: only for workers that have an App's key."""
    import webhooks.github_api.client  # noqa: F401
