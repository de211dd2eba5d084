"""A user's tokens for the API: made, shown once, and revoked. Who gives people their roles sees those of all."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils import timezone

from webhooks.console.access import action, page
from webhooks.console.roles import may_see_payloads
from webhooks.console.search import cleaned
from webhooks.inbox import tokens
from webhooks.models import Token

LISTED = 200
LARGEST_ID = 2**63 - 1


@page("view_delivery")
def listed(request: HttpRequest) -> HttpResponse:
    return _shown(request)


@action("view_delivery")
def create(request: HttpRequest) -> HttpResponse:
    """Make a token, and show it on this page: the only one that ever has it."""
    user = _user(request)
    if not may_see_payloads(user):
        raise PermissionDenied
    name, days = cleaned(request.POST.get("name", "")).strip(), request.POST.get("days", "")
    is_number = days.isascii() and days.isdecimal() and len(days) <= 6
    if not tokens.is_name(name) or not is_number or not 1 <= int(days) <= tokens.MOST_DAYS:
        messages.error(request, f"No token was made. It needs a name, and from 1 to {tokens.MOST_DAYS:,} days.")
        return HttpResponseRedirect(reverse("console:tokens"))
    try:
        made = tokens.make(user, name=name, days=int(days), who=user.get_username())
    except tokens.TooManyError:
        messages.error(request, f"No token was made. You have {tokens.MOST_TOKENS} that can be used; revoke one first.")
        return HttpResponseRedirect(reverse("console:tokens"))
    # Not behind a redirect: between the two requests the token would have to be kept somewhere.
    return _shown(request, made=made)


@action("view_delivery")
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    token = get_object_or_404(_visible(request), pk=min(pk, LARGEST_ID))
    done = tokens.revoke(token, who=_user(request).get_username())
    messages.success(request, f"“{token.name}” is revoked." if done else f"“{token.name}” was revoked before.")
    return HttpResponseRedirect(reverse("console:tokens"))


def _shown(request: HttpRequest, *, made: tokens.Made | None = None) -> HttpResponse:
    rows = list(_visible(request).order_by("-pk")[: LISTED + 1])
    context = {
        "title": "Tokens",
        "made": made,
        "rows": [_row(token) for token in rows[:LISTED]],
        "has_more": len(rows) > LISTED,
        "sees_all": _sees_all(request),
        "may_make": may_see_payloads(request.user),
        "days": tokens.DAYS,
        "most_days": tokens.MOST_DAYS,
        "longest_name": tokens.LONGEST_NAME,
        "address": request.build_absolute_uri("/").rstrip("/"),
    }
    return render(request, "console/tokens.html", context)


def _row(token: Token) -> dict[str, Any]:
    return {"token": token, "state": tokens.state_of(token, now=timezone.now())}


def _visible(request: HttpRequest) -> QuerySet[Token]:
    found = Token.objects.select_related("user")
    return found if _sees_all(request) else found.filter(user=_user(request))


def _sees_all(request: HttpRequest) -> bool:
    return request.user.has_perm("auth.change_user")


def _user(request: HttpRequest) -> User:
    if isinstance(request.user, AnonymousUser):
        raise PermissionDenied
    return request.user


urlpatterns = [
    path("tokens/", listed, name="tokens"),
    path("tokens/new/", create, name="token-create"),
    path("tokens/<int:pk>/revoke/", revoke, name="token-revoke"),
]
