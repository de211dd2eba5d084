"""One delivery: what came, what ran, who asked for what; its payload and headers; and how it is sent again."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse

from webhooks.console import elsewhere, payloads
from webhooks.console.access import page
from webhooks.console.flower import flower_attempts_url, flower_url
from webhooks.console.roles import may_see_payloads
from webhooks.console.timeline import STATES_ONLY, at_a_glance, story_of, twins_of
from webhooks.github.signature import secret_fingerprint
from webhooks.inbox.kept_bodies import UnreadableBodyError
from webhooks.models import Delivery, Payload, SourceSecret
from webhooks.paths import WEBHOOKS
from webhooks.traces.context import trace_id_of

_LIVE_SECONDS = 5
LARGEST_ID = 2**63 - 1


@page("view_delivery")
def delivery(request: HttpRequest, pk: int) -> HttpResponse:
    shown = _delivery_or_404(pk)
    may_view_jobs = request.user.has_perm("webhooks.view_job")
    story = story_of(shown)
    url = request.build_absolute_uri(f"{WEBHOOKS}{shown.source.name}")
    context = {
        "title": f"{shown.event}.{shown.action}" if shown.action else shown.event,
        "delivery": shown,
        "jobs": story.jobs if may_view_jobs else [],
        "has_older_jobs": story.has_older_jobs,
        "recovery": story.recovery,
        "pull": story.pull,
        "may_view_passes": request.user.has_perm("webhooks.view_logpass"),
        "all_jobs": f"{reverse('console:jobs')}?q=guid:{shown.guid}",
        "twins": [_twin(each, may_view_jobs=may_view_jobs) for each in story.twins],
        "may_view_jobs": may_view_jobs,
        "may_view_attempts": request.user.has_perm("webhooks.view_attempt"),
        "may_see_payloads": may_see_payloads(request.user),
        "has_payload": Payload.objects.filter(pk=shown.pk).exists(),
        "secret_place": _secret_place(shown),
        "headers": sorted(shown.headers.items()),
        "links": elsewhere.links_of(shown),
        "flower": flower_url(request),
        "flower_attempts": flower_attempts_url(request),
        "curl": elsewhere.curl_of(shown, url=url),
        "secret_variable": elsewhere.secret_hint(shown),
        "file_name": payloads.file_name(shown),
        "trace_id": trace_id_of(shown),
        "live_seconds": _LIVE_SECONDS if any(each.job.finished_at is None for each in story.jobs) else None,
    }
    return render(request, "console/delivery.html", context)


@page("view_delivery")
def by_guid(request: HttpRequest, guid: UUID) -> HttpResponse:
    """Lead to the delivery of a GUID. If several hooks sent it, list them."""
    may_view_jobs = request.user.has_perm("webhooks.view_job")
    same = Delivery.objects.filter(guid=guid).select_related("source").order_by("id")
    found = list(same.prefetch_related(STATES_ONLY)[:2])
    if not found:
        raise Http404("No delivery with this GUID is here.")
    if len(found) == 1:
        return redirect("console:delivery", found[0].pk)
    first = found[0]
    twins = [_twin(each, may_view_jobs=may_view_jobs) for each in (first, *twins_of(first)[:100])]
    return render(
        request, "console/same_guid.html", {"title": "One event, several hooks", "guid": guid, "twins": twins}
    )


@page("view_delivery")
def payload(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the payload: as a part of the delivery's page for htmx, else as a page."""
    shown = _delivery_or_404(pk)
    if not may_see_payloads(request.user):
        raise PermissionDenied
    is_part = request.headers.get("HX-Request") == "true"
    context = {"title": "Payload", "delivery": shown, "payload": payloads.preview(shown)}
    return render(request, "console/_payload.html" if is_part else "console/payload.html", context)


@page("view_delivery")
def download(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the body in clear, and else unchanged, as a file."""
    shown = _delivery_or_404(pk)
    if not may_see_payloads(request.user):
        raise PermissionDenied
    try:
        body = payloads.whole(shown)
    except UnreadableBodyError as error:
        messages.error(request, str(error))
        return redirect("console:delivery", pk)
    if body is None:
        raise Http404("The payload was pruned.")
    response = HttpResponse(body, content_type=payloads.download_type(shown))
    response["Content-Disposition"] = f'attachment; filename="{payloads.file_name(shown)}"'
    return response


def _delivery_or_404(pk: int) -> Delivery:
    if pk > LARGEST_ID:
        raise Http404
    return get_object_or_404(Delivery.objects.select_related("source"), pk=pk)


def _twin(each: Delivery, *, may_view_jobs: bool) -> dict[str, Any]:
    return {"delivery": each, "jobs": at_a_glance(each.jobs.all()) if may_view_jobs else []}


def _secret_place(shown: Delivery) -> str:
    """Return which of the source's secrets signed the delivery: "secret 1 of 2", or that it is no longer configured."""
    secrets = settings.HOOKLINE_SECRETS.get(shown.source.name, [])
    for number, secret in enumerate(secrets, start=1):
        if secret_fingerprint(secret, key=settings.SECRET_KEY) == shown.secret_fingerprint:
            return f"secret {number} of {len(secrets)}"
    kept = (
        SourceSecret.objects.filter(source=shown.source, fingerprint=shown.secret_fingerprint).order_by("-pk").first()
    )
    if kept is None:
        return "not configured here any more"
    return "kept in the database until it was retired" if kept.retired_at else "kept in the database"


urlpatterns = [
    path("deliveries/<int:pk>/", delivery, name="delivery"),
    path("deliveries/guid/<uuid:guid>/", by_guid, name="delivery-guid"),
    path("deliveries/<int:pk>/payload/", payload, name="delivery-payload"),
    path("deliveries/<int:pk>/payload/raw/", download, name="delivery-download"),
]
