"""Who may see a page of the console, and who may act on it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

View = Callable[..., HttpResponse]


def page(*permissions: str) -> Callable[[View], View]:
    """Make a view a page of the console: by GET, signed in, with these permissions of the app `webhooks`.

    Who is not signed in is asked to; who lacks a permission gets 403.
    """
    return _guarded(require_GET, permissions)


def action(*permissions: str) -> Callable[[View], View]:
    """Make a view an action of the console: by POST, with the same checks as a page."""
    return _guarded(require_POST, permissions)


def _guarded(method: Callable[[View], View], permissions: tuple[str, ...]) -> Callable[[View], View]:
    required = [f"webhooks.{name}" for name in permissions]

    def guard(view: View) -> View:
        allowed = permission_required(required, raise_exception=True)(method(view))
        guarded = never_cache(login_required(allowed))

        @wraps(view)
        def called(request: HttpRequest, *arguments: Any, **values: Any) -> HttpResponse:
            return guarded(request, *arguments, **values)

        return called

    return guard
