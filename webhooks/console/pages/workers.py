"""Workers: what each says of itself, a stop after the current jobs, and the stack of a running job."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse

from webhooks.console.access import action, page
from webhooks.console.flower import flower_url
from webhooks.inbox import workers as inbox
from webhooks.inbox.workers import LOST, State, Worker
from webhooks.models import Job

LIVE_SECONDS = 5
THERE = "there"
"""The filter that the page has without one: all that have not stopped."""
FILTERS = {
    THERE: "All that have not stopped",
    LOST: "Lost",
    State.DRAINING: "Draining",
    State.STARTING: "Connecting",
    State.READY: "Ready",
    State.STOPPED: "Stopped within a day",
}


@page("view_workerreport")
def workers(request: HttpRequest) -> HttpResponse:
    known = inbox.known()
    state = request.GET.get("state", THERE)
    state = state if state in FILTERS else THERE
    shown = [worker for worker in known if _matches(worker, state)]
    context = {
        "title": "Workers",
        "workers": shown,
        "filters": _filters(known, state),
        "state": state,
        "filter_label": FILTERS[state],
        "any_known": bool(known),
        "listed": inbox.LISTED if len(known) >= inbox.LISTED else 0,
        "lost_seconds": int(inbox.LOST_SECONDS),
        "busy": sum(worker.row.busy for worker in known if worker.is_there),
        "slots": sum(worker.row.slots for worker in known if worker.is_there),
        "can_stop_several": sum(worker.may_be_asked_to_stop for worker in shown) > 1,
        "flower": flower_url(request),
        "live_seconds": LIVE_SECONDS,
    }
    return render(request, "console/workers.html", context)


def _matches(worker: Worker, state: str) -> bool:
    return worker.state != State.STOPPED if state == THERE else worker.state == state


def _filters(known: Sequence[Worker], chosen: str) -> list[dict[str, Any]]:
    counts = Counter(worker.state for worker in known)
    counts[THERE] = len(known) - counts[State.STOPPED]
    return [
        {"value": value, "label": label, "count": counts[value], "is_chosen": value == chosen}
        for value, label in FILTERS.items()
    ]


# --- Stop -------------------------------------------------------------------------------------------------------------


@page("view_workerreport", "add_workerrequest")
def confirm_stop(request: HttpRequest) -> HttpResponse:
    """Ask for the reason, and show what each worker runs. Those that are shown now are asked, and no others."""
    named, state = request.GET.getlist("worker"), request.GET.get("state", THERE)
    known = [worker for worker in inbox.known() if worker.may_be_asked_to_stop]
    chosen = [one for one in known if (one.row.worker in named if named else _matches(one, state))]
    context = {
        "title": "Stop after the current jobs",
        "workers": chosen,
        "running": sum(worker.row.busy for worker in chosen),
        "grace_seconds": settings.HOOKLINE_GRACE_SECONDS,
        "state": state,
    }
    return render(request, "console/workers_stop.html", context)


@action("view_workerreport", "add_workerrequest")
def stop(request: HttpRequest) -> HttpResponse:
    named, reason = request.POST.getlist("worker"), request.POST.get("reason", "").strip()
    if not reason:
        messages.error(request, "No worker was asked to stop: give a reason, which the audit log keeps.")
        return redirect("console:workers")
    asked = inbox.ask_to_stop(named, who=request.user.get_username(), reason=reason)
    left = len(set(named)) - asked
    text = f"{asked} {'worker' if asked == 1 else 'workers'} asked to stop after the current jobs."
    if left:
        text += f" {left} left: no longer there, or stopping already."
    (messages.success if asked else messages.warning)(request, text)
    return redirect("console:workers")


# --- A running job's stack --------------------------------------------------------------------------------------------


@action("view_job", "add_workerrequest")
def ask_for_stack(request: HttpRequest) -> HttpResponse:
    number = request.POST.get("job", "")
    job = get_object_or_404(Job, pk=int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0)
    asked = inbox.ask_for_stack(job, who=request.user.get_username())
    if "HX-Request" in request.headers:
        return render(request, "console/_job_stack.html", {"job": job})
    if asked is None:
        messages.warning(request, "The job does not run any more.")
    return redirect(f"{reverse('console:jobs')}{job.pk}/")


@page("view_job", "add_workerrequest")
def stack(request: HttpRequest, job: int) -> HttpResponse:
    """Show the part of the job's page that has its stack, which asks for it again until it is there."""
    return render(request, "console/_job_stack.html", {"job": get_object_or_404(Job, pk=job)})


urlpatterns = [
    path("workers/", workers, name="workers"),
    path("workers/stop/", confirm_stop, name="confirm-stop"),
    path("workers/stop/ask/", stop, name="stop-workers"),
    path("workers/stack/", ask_for_stack, name="ask-for-stack"),
    path("workers/stack/<int:job>/", stack, name="stack"),
]
