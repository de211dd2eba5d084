"""Deliveries: a list by filters and a search, all in the URL; each row leads to its delivery."""

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from webhooks.console import filters, keyset, narrowing, saved_views
from webhooks.console.access import page
from webhooks.console.pages import delivery
from webhooks.console.search import Search
from webhooks.console.timeline import STATES_ONLY, at_a_glance
from webhooks.models import Delivery

_LIVE_SECONDS = 10


@page("view_delivery")
def deliveries(request: HttpRequest) -> HttpResponse:
    if (shorter := filters.tidied(request)) is not None:
        return shorter
    may_view_jobs = request.user.has_perm("webhooks.view_job")
    asked = filters.read(request)
    if not may_view_jobs:
        asked = replace(asked, search=_without_jobs(asked.search))
    found = narrowing.deliveries(asked.search)
    rows = found.rows.select_related("source", "recovery").defer("headers")
    shown = keyset.page_of(
        rows.prefetch_related(STATES_ONLY) if may_view_jobs else rows,
        narrowing.NEWEST_FIRST,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    context = {
        "title": "Deliveries",
        "filters": asked,
        "page": shown,
        "rows": [_row(each, may_view_jobs=may_view_jobs) for each in shown.rows],
        "most_searched": found.most_searched,
        "is_none_there": not shown.rows and not Delivery.objects.exists(),
        "may_view_jobs": may_view_jobs,
        "list_page": "deliveries",
        "saved_views": saved_views.views_of(request, "deliveries"),
        "live_seconds": _LIVE_SECONDS,
    }
    return render(request, "console/deliveries.html", context)


def _row(each: Delivery, *, may_view_jobs: bool) -> dict[str, Any]:
    return {"delivery": each, "jobs": at_a_glance(each.jobs.all()) if may_view_jobs else []}


def _without_jobs(wanted: Search) -> Search:
    """Leave out what would tell of jobs to somebody who may not see them."""
    rest = replace(wanted, state="", handler="", queue="", error="", fingerprint="")
    if rest == wanted:
        return wanted
    return replace(rest, problems=(*rest.problems, "To filter by jobs, your user needs the permission to view them."))


urlpatterns = [
    path("deliveries/", deliveries, name="deliveries"),
    *delivery.urlpatterns,
    *saved_views.urlpatterns,
]
