"""Where Flower is, as far as the settings tell."""

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port


def flower_url(request: HttpRequest) -> str:
    """Return Flower's address with a slash at the end; "" if it is not known.

    With a prefix it stands behind the same host. Without one it has a port of its own, which only the machine of
    `make run` is known to show.
    """
    if prefix := settings.HOOKLINE_FLOWER_PREFIX.strip("/"):
        return f"/{prefix}/"
    if settings.HOOKLINE_ENVIRONMENT == "production":
        return ""
    host, _ = split_domain_port(request.get_host())
    return f"http://{host}:{settings.HOOKLINE_FLOWER_PORT}/"


def flower_attempts_url(request: HttpRequest) -> str:
    """Return what Flower's page of an attempt begins with, before "<job>-<attempt>"; "" if none is to be found there.

    Flower remembers the newest attempts, those since it started.
    """
    flower = flower_url(request)
    return f"{flower}task/" if flower and settings.HOOKLINE_JOB_EVENTS else ""
