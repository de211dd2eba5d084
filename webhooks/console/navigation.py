"""The pages in the console's menu, in its order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from webhooks.inbox import pauses


@dataclass(frozen=True, slots=True)
class Entry:
    """One page in the menu: the name of its module in `pages/`, which is the name of its path too."""

    name: str
    label: str
    icon: str
    permission: str


MENU = (
    Entry("home", "Home", "home", "view_delivery"),
    Entry("deliveries", "Deliveries", "inbox", "view_delivery"),
    Entry("jobs", "Jobs", "list-details", "view_job"),
    Entry("dead", "Dead", "skull", "view_job"),
    Entry("replays", "Replays", "rotate-clockwise", "view_replay"),
    Entry("sources", "Sources", "brand-github", "view_sourcesecret"),
    Entry("destinations", "Destinations", "external-link", "view_destination"),
    Entry("recovery", "Recovery", "download", "view_logpass"),
    Entry("queues", "Queues", "route", "view_job"),
    Entry("workers", "Workers", "server", "view_workerreport"),
)


def menu(request: HttpRequest) -> dict[str, Any]:
    """Give the console's templates its menu and what each page shows. Nothing for other templates."""
    match = request.resolver_match
    if match is None or match.namespace != "console":
        return {}
    return {
        "menu": list(_entries(request)),
        "environment": settings.HOOKLINE_ENVIRONMENT,
        "as_of": timezone.now(),
        "pauses": pauses.current,  # Asked only where the template shows it.
    }


def _entries(request: HttpRequest) -> Iterator[dict[str, Any]]:
    path = request.path_info
    for entry in MENU:
        if not request.user.has_perm(f"webhooks.{entry.permission}"):
            continue
        url = reverse(f"console:{entry.name}")
        is_here = path == url if url == "/" else path.startswith(url)
        yield {"label": entry.label, "icon": entry.icon, "url": url, "is_here": is_here}
