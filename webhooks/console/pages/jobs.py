"""Jobs: a list by filters and a search, each state in its own order; and what may be done to many of them."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from webhooks.console import filters, job_search, keyset, saved_views
from webhooks.console.access import page
from webhooks.console.job_search import Found
from webhooks.console.pages import job, job_actions
from webhooks.inbox import counts
from webhooks.inbox.operations import OPERATIONS
from webhooks.models import Job

_LIVE_SECONDS = 10


@page("view_job")
def jobs(request: HttpRequest) -> HttpResponse:
    if (shorter := filters.tidied(request)) is not None:
        return shorter
    asked = replace(filters.read(request), form=filters.OF_JOBS)
    found = job_search.jobs(asked.search)
    rows = found.jobs.select_related("delivery").defer("delivery__headers")
    shown = keyset.page_of(rows, found.order, after=request.GET.get("after", ""), before=request.GET.get("before", ""))
    context = {
        "title": "Jobs",
        "filters": asked,
        "page": shown,
        "most_searched": found.narrowed.most_searched,
        "is_none_there": not shown.rows and not Job.objects.exists(),
        "may_view_deliveries": request.user.has_perm("webhooks.view_delivery"),
        "list_page": "jobs",
        "saved_views": saved_views.views_of(request, "jobs"),
        "live_seconds": _LIVE_SECONDS,
        # A full count would read all of them.
        "count": counts.capped(found.jobs.order_by()),
        **_operations(request, found, asked),
    }
    return render(request, "console/jobs.html", context)


def _operations(request: HttpRequest, found: Found, asked: filters.Filters) -> dict[str, Any]:
    """Return what may be done to jobs of this list: only what the state allows, and the user's role."""
    if not request.user.has_perm("webhooks.change_job"):
        return {"operations": []}
    state = asked.search.state
    return {
        "operations": [each for each in OPERATIONS if not state or state in each.states],
        "may_act_on_all": found.may_act_on_all and not asked.search.problems,
        "parameters": parse_qsl(asked.query),
    }


urlpatterns = [path("jobs/", jobs, name="jobs"), *job_actions.urlpatterns, *job.urlpatterns]
