"""What differs in Flower's pages: its metrics ask for signing in, as all others do.

They name every handler and worker. Behind an ingress Flower would show them to whoever can reach it.
"""

from typing import Any

from flower import urls  # type: ignore[import-untyped]
from flower.views import monitor  # type: ignore[import-untyped]


class Metrics(monitor.Metrics):  # type: ignore[misc]  # Flower has no types.
    """Flower's metrics, for who has signed in."""

    def prepare(self) -> None:
        if not self.current_user:  # With a password, a wrong one is answered in here.
            self.redirect(self.get_login_url())


def close_metrics() -> None:
    """Serve them in place of Flower's own, before Flower reads its list of pages."""
    pages: list[Any] = urls.handlers
    pages[:] = [(page[0], Metrics) if _is_metrics(page) else page for page in pages]


def _is_metrics(page: Any) -> bool:
    return isinstance(page, tuple) and page[1] is monitor.Metrics
