"""Serves the pages that machines ask for before anything that is meant for people's."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import resolve

PROBES = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})
WEBHOOKS = "/webhooks/"


class MachinePages:
    """Answers webhooks, probes and scrapes at once: no session, no CSRF token, no redirect, no check of the Host.

    A probe of Kubernetes and a scrape of Prometheus name the pod's address, which no ALLOWED_HOSTS can know.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in PROBES and not request.path_info.startswith(WEBHOOKS):
            return self._get_response(request)
        match = resolve(request.path_info)
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        return response
