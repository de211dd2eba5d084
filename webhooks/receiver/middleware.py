"""Serves the pages for machines before any middleware for people runs. Refuses NUL characters in other requests."""

from collections.abc import Callable, Iterable

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.urls import resolve

from webhooks.paths import PROBES, WEBHOOKS


def machine_path(path: str) -> str:
    """Return the path without the slash at its end, if that is a path for machines.

    Webhook URLs and probe paths are typed by hand, sometimes with a slash. A redirect would not help: GitHub's POST
    would be lost, and for the kubelet a redirect means healthy.
    """
    shorter = path.removesuffix("/")
    return shorter if shorter in PROBES or shorter.startswith(WEBHOOKS) else path


class MachinePages:
    """Answers webhooks, probes and scrapes at once: no session, no CSRF token, no redirect, no check of the Host.

    A probe of Kubernetes and a scrape of Prometheus have the pod's address as Host, which ALLOWED_HOSTS cannot list.
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


class NoNul:
    """Answers 400 to a NUL in the path, the query, a cookie or a form's field: PostgreSQL takes none in any text."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if any("\0" in text for text in _texts(request)):
            return HttpResponseBadRequest("There is a NUL character in it.", content_type="text/plain")
        return self._get_response(request)


def _texts(request: HttpRequest) -> Iterable[str]:
    yield request.path_info
    yield from request.COOKIES.values()
    for fields in (request.GET, request.POST):
        for name, values in fields.lists():
            yield name
            yield from map(str, values)
