"""The API's pages: the deliveries of one GUID, and those of one pull request in order of arrival."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from webhooks.api.access import answer, for_tokens, name_of, refusal
from webhooks.api.handed_out import Room, as_json
from webhooks.api.walk import Step, walk
from webhooks.console.keyset import place_of
from webhooks.inbox import audit
from webhooks.models import Delivery, Token

MOST_OF_GUID = 20
"""How many deliveries of one GUID a page has: more than an event has hooks."""


@for_tokens
def deliveries(request: HttpRequest, token: Token, guid: UUID) -> HttpResponse:
    """Hand out every delivery of a GUID: one for each source and hook that sent the event."""
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdecimal() and len(after) <= 18):
        return refusal(400, "after is the `next` of the page before.")
    same = Delivery.objects.filter(guid=guid, pk__gt=int(after)).select_related("source").order_by("pk")
    found = list(same[: MOST_OF_GUID + 1])
    if not found and after == "0":
        return refusal(404, f"No delivery with the GUID {guid} is here.")
    room = Room()
    rows = [one for one in found[:MOST_OF_GUID] if room.takes(one.body_bytes)]
    following = str(rows[-1].pk) if len(rows) < len(found) else None
    return _handed_out(token, rows, {"next": following})


@for_tokens
def pull_request(request: HttpRequest, token: Token, owner: str, name: str, number: int) -> HttpResponse:
    """Hand out a part of a pull request's deliveries, in order of arrival, and say where the next part begins.

    A part may hold none: `next` says whether there is more to be looked at.
    """
    oldest = timezone.now() - timedelta(days=settings.HOOKLINE_KEEP_PAYLOADS_DAYS)
    after = request.GET.get("after", "")
    if after and place_of(after) is None:
        return refusal(400, "after is the `next` of the page before.")
    step = walk(f"{owner}/{name}", number, since=oldest, after=after)
    return _handed_out(token, step.found, _said(step, oldest=oldest.isoformat()))


def _said(step: Step, *, oldest: str) -> Mapping[str, Any]:
    """Return what the walk did not see, beside where it goes on."""
    return {
        "next": step.following or None,
        "since": oldest,
        "keep_payloads_days": settings.HOOKLINE_KEEP_PAYLOADS_DAYS,
        "pruned": step.pruned,
        "unreadable": step.unreadable,
        "too_large": step.too_large,
    }


def _handed_out(token: Token, rows: Sequence[Delivery], more: Mapping[str, Any]) -> HttpResponse:
    """Return the deliveries, once it is recorded who takes which payload."""
    handed = [as_json(one) for one in rows]
    with transaction.atomic():
        for one, body in zip(rows, handed, strict=True):
            if body["body"] is not None:
                who, scope = token.user.get_username(), f"delivery {one.pk}, GUID {one.guid}, {name_of(token)}"
                audit.record("take_payload", who=who, scope=scope)
    return answer(200, {"deliveries": handed, **more})


@csrf_exempt
@never_cache
def unknown(_request: HttpRequest, _rest: str) -> HttpResponse:
    return refusal(404, "The API has no such page.")
