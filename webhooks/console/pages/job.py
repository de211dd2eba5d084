"""One job: why it waits or who runs it, what each attempt made of it, who changed it, and what may be done now."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse

from webhooks.console.access import page
from webhooks.console.flower import flower_attempts_url
from webhooks.console.selection import ON_CHOSEN
from webhooks.console.timeline import story_of_job
from webhooks.inbox import operations
from webhooks.models import Job
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

RUNS_SHOWN = 50
_LIVE_SECONDS = 5


@page("view_job")
def job(request: HttpRequest, job: int) -> HttpResponse:
    shown = get_object_or_404(Job.objects.select_related("delivery").defer("delivery__headers"), pk=job)
    story = story_of_job(shown, most_runs=RUNS_SHOWN)
    subscription = installed_subscriptions().get(shown.handler)
    context: dict[str, Any] = {
        "title": f"{shown.handler} #{shown.pk}",
        "job": shown,
        "story": story,
        "limit_seconds": subscription.time_limit if subscription else None,
        "is_running": shown.state == JobState.RUNNING,
        "may_view_attempts": request.user.has_perm("webhooks.view_attempt"),
        "may_view_deliveries": request.user.has_perm("webhooks.view_delivery"),
        "flower_attempts": flower_attempts_url(request),
        "operations": list(_operations(request, shown)),
        "live_seconds": None if shown.finished_at else _LIVE_SECONDS,
    }
    return render(request, "console/job.html", context)


def _operations(request: HttpRequest, shown: Job) -> list[dict[str, Any]]:
    """Return what the state allows, and the user's role: each with the page that asks why."""
    if not request.user.has_perm("webhooks.change_job"):
        return []
    here = reverse("console:job", args=[shown.pk])
    return [
        {
            "operation": each,
            "url": f"{reverse('console:jobs-confirm')}?"
            + urlencode({ON_CHOSEN: each.name, "job": shown.pk, "next": here}),
        }
        for each in operations.allowed(shown)
    ]


urlpatterns = [path("jobs/<int:job>/", job, name="job")]
