"""Serves the pages that machines ask for before anything that is meant for people's."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import resolve

PROBES = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})
WEBHOOKS = "/webhooks/"


def machine_path(path: str) -> str:
    """Return the path without the slash at its end, if that leaves one that machines ask for.

    A webhook's URL and a probe's path are typed by hand, and no machine can be redirected: GitHub's POST would be lost,
    and kubelet takes a redirect for health.
    """
    shorter = path.removesuffix("/")
    return shorter if shorter in PROBES or shorter.startswith(WEBHOOKS) else path


class MachinePages:
    """Answers webhooks, probes and scrapes at once: no session, no CSRF token, no redirect, no check of the Host.

    A probe of Kubernetes and a scrape of Prometheus name the pod's address, which no ALLOWED_HOSTS can know.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = machine_path(request.path_info)
        if path not in PROBES and not path.startswith(WEBHOOKS):
            return self._get_response(request)
        match = resolve(path)
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        return response
