"""Home: is anything broken, is it backing up, and did a deploy cause it."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone

from webhooks.console.access import page
from webhooks.console.overview import charts, heat, standing
from webhooks.inbox import issues as inbox_issues
from webhooks.inbox import workers as inbox_workers
from webhooks.inbox.figures import reading
from webhooks.inbox.secrets.standing import standings

LIVE_SECONDS = 5
ISSUES_SHOWN = 8


@page("view_delivery")
def home(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    chosen = request.GET.get("range", "")
    chosen = chosen if chosen in charts.RANGES else charts.DEFAULT_RANGE
    hours, is_hourly = charts.RANGES[chosen]
    context = {
        "title": "Home",
        "live_seconds": LIVE_SECONDS,
        "ranges": charts.RANGES,
        "range": chosen,
        "is_hourly": is_hourly,
        "charts": charts.charts(reading.span_of(now, hours=hours, is_hourly=is_hourly)),
        "with_secret": standing.with_secret(now),
        **_jobs(request, now),
    }
    return render(request, "console/home.html", context)


def _jobs(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """Return what is known of jobs, queues, handlers and workers; None for what this user may not see."""
    sees_jobs = request.user.has_perm("webhooks.view_job")
    sees_workers = request.user.has_perm("webhooks.view_workerreport")
    day, hour = (reading.span_of(now, hours=hours, is_hourly=hours > 1) for hours in (24, 1))
    reporting, written_at = inbox_workers.reporting(), reading.written_at()
    workers = standing.workers(reporting)
    relay = standing.Relay(written_at, None if written_at is None else now - written_at)
    queues = standing.queues(reporting) if sees_jobs else []
    issues = inbox_issues.open_issues(limit=ISSUES_SHOWN) if sees_jobs else None
    depths = reading.depths(hour) if sees_jobs else {}
    return {
        "status": standing.status(
            # Of none it is only sure where all were looked at.
            issues=issues.count if issues and (issues.count or issues.is_complete) else None,
            queues=queues,
            workers=workers if sees_workers else None,
            relay=relay,
            sources=standings() if request.user.has_perm("webhooks.view_sourcesecret") else (),
        ),
        "counts": standing.state_counts() if sees_jobs else None,
        "succeeded": reading.succeeded(day) if sees_jobs else None,
        "queues": [(queue, charts.sparkline(depths.get(queue.name, {}), hour)) for queue in queues],
        "grid": heat.grid(day) if sees_jobs else None,
        "issues": issues,
        "workers": workers if sees_workers else None,
        "relay": relay,
    }


urlpatterns = [path("", home, name="home")]
