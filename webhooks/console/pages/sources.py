"""Sources: where each one's webhook is sent, and its secrets; administrators add and retire secrets."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone
from django.utils.dateparse import parse_date

from webhooks.console.access import action, page
from webhooks.inbox.figures import reading
from webhooks.inbox.secrets import changing
from webhooks.inbox.secrets.changing import SecretRefusedError
from webhooks.inbox.secrets.standing import KnownSecret, SourceStanding, standing_of, standings
from webhooks.models import HookLog, SourceSecret
from webhooks.paths import WEBHOOKS

LIVE_SECONDS = 10
REFUSED_HOURS = 24


@page("view_sourcesecret")
def show(request: HttpRequest) -> HttpResponse:
    span = reading.span_of(timezone.now(), hours=REFUSED_HOURS, is_hourly=True)
    refused = reading.answers(span, acknowledged=()).counts.get("unsigned", {})
    context = {
        "title": "Sources",
        "sources": [_shown(request, one) for one in standings()],
        "refused": sum(refused.values()),
        "has_keys": bool(settings.HOOKLINE_ENCRYPTION_KEYS),
        "live_seconds": LIVE_SECONDS,
    }
    return render(request, "console/sources.html", context)


@page("add_sourcesecret")
def ask_to_add(request: HttpRequest) -> HttpResponse:
    standing = _listed(request.GET.get("source", ""))
    return _add_form(request, standing, {})


@action("add_sourcesecret")
def add(request: HttpRequest) -> HttpResponse:
    """Make a secret and show it in this answer alone: it has no address at which it could be seen again."""
    standing, given = _listed(request.POST.get("source", "")), request.POST
    value, who = changing.new_secret(), request.user.get_username()
    try:
        made = changing.add(
            standing.name,
            value,
            note=given.get("note", "").strip(),
            not_after=_end(given.get("not_after", "")),
            who=who,
        )
    except SecretRefusedError as refused:
        return _add_form(request, standing, given, error=str(refused))
    context = {
        "title": f"New secret of {standing.name}",
        "value": value,
        "made": made,
        "url": _url(request, standing.name),
        "others": [secret for secret in standing.current if secret.fingerprint != made.fingerprint],
    }
    return render(request, "console/source_secret_added.html", context)


@page("change_sourcesecret")
def ask_to_retire(request: HttpRequest, pk: int) -> HttpResponse:
    return _retire_form(request, *_stored(pk))


@action("change_sourcesecret")
def retire(request: HttpRequest, pk: int) -> HttpResponse:
    standing, secret = _stored(pk)
    given, who = request.POST, request.user.get_username()
    reason, is_forced = given.get("reason", "").strip(), given.get("anyway") == "yes"
    if not reason:
        return _retire_form(request, standing, secret, error="Say why in a few words.")
    try:
        changing.retire(secret.fingerprint, source=secret.source, who=who, reason=reason, is_forced=is_forced)
    except SecretRefusedError as refused:
        return _retire_form(request, standing, secret, reason=reason, error=str(refused))
    messages.success(request, f"Retired {secret.fingerprint} of {secret.source}: within seconds it verifies nothing.")
    return redirect("console:sources")


def _shown(request: HttpRequest, standing: SourceStanding) -> dict[str, Any]:
    rows = [(secret, standing.sentence(secret)) for secret in standing.secrets]
    log = HookLog.objects.filter(source=standing.name, completed_at__isnull=False).order_by("-completed_at").first()
    return {
        "standing": standing,
        "is_listed": standing.name in settings.HOOKLINE_SOURCES,
        "url": _url(request, standing.name),
        "access": _access(standing.name),
        "read_at": log.completed_at if log else None,
        "kept": [row for row in rows if row[0].state != "retired"],
        "retired": [row for row in rows if row[0].state == "retired"],
    }


def _access(source: str) -> Mapping[str, Any]:
    """Return with what GitHub's API is asked for a source: no key and no token, only whether there is one here."""
    given = settings.HOOKLINE_GITHUB_ACCESS.get(source, {})
    return {
        "api_url": given.get("api_url", ""),
        "app_id": given.get("app_id", ""),
        "hooks": given.get("hooks", []),
        "has_key": bool(given.get("private_key")),
        "has_token": bool(given.get("token")),
        "is_withheld": "GITHUB_APP_PRIVATE_KEY" in settings.HOOKLINE_WITHHELD.get(settings.HOOKLINE_ROLE, ()),
    }


def _url(request: HttpRequest, source: str) -> str:
    return request.build_absolute_uri(f"{WEBHOOKS}{source}")


def _listed(source: str) -> SourceStanding:
    """Return one of the settings' sources, or raise Http404."""
    standing = standing_of(source) if source in settings.HOOKLINE_SOURCES else None
    if standing is None:
        raise Http404
    return standing


def _stored(pk: int) -> tuple[SourceStanding, KnownSecret]:
    """Return a stored secret that is not retired, or raise Http404."""
    row = SourceSecret.objects.filter(pk=min(pk, 2**63 - 1), retired_at=None).select_related("source").first()
    standing = standing_of(row.source.name) if row else None
    for secret in standing.secrets if standing else ():
        if standing and row and secret.row and secret.row.pk == row.pk:
            return standing, secret
    raise Http404


def _add_form(
    request: HttpRequest, standing: SourceStanding, given: Mapping[str, Any], *, error: str = ""
) -> HttpResponse:
    context = {
        "title": f"Add a secret to {standing.name}",
        "standing": standing,
        "note": given.get("note", ""),
        "not_after": given.get("not_after", ""),
        "keyless": "" if settings.HOOKLINE_ENCRYPTION_KEYS else changing.KEYLESS,
        "error": error,
    }
    return render(request, "console/source_secret_new.html", context, status=400 if error else 200)


def _retire_form(
    request: HttpRequest, standing: SourceStanding, secret: KnownSecret, *, reason: str = "", error: str = ""
) -> HttpResponse:
    context = {
        "title": f"Retire {secret.fingerprint} of {secret.source}",
        "secret": secret,
        "sentence": standing.sentence(secret),
        "refusal": standing.refusal(secret),
        "reason": reason,
        "error": error,
    }
    return render(request, "console/source_secret_retire.html", context, status=400 if error else 200)


def _end(given: str) -> datetime | None:
    """Return the beginning of the day, in UTC. Raises SecretRefusedError."""
    try:
        day = parse_date(given)
    except ValueError:
        day = None
    if given and day is None:
        raise SecretRefusedError("Its end must be a day, such as 2027-01-01.")
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None


urlpatterns = [
    path("sources/", show, name="sources"),
    path("sources/secrets/new/", ask_to_add, name="source-secret-form"),
    path("sources/secrets/add/", add, name="source-secret-add"),
    path("sources/secrets/<int:pk>/retire/", ask_to_retire, name="source-secret-retire-form"),
    path("sources/secrets/<int:pk>/retire/now/", retire, name="source-secret-retire"),
]
