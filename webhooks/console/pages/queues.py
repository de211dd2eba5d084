"""Queues: what waits in each, who consumes, and what is paused; operators pause and resume queues and handlers."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from webhooks.console.access import action, page
from webhooks.inbox import pauses
from webhooks.inbox.queues import paused_elsewhere, queues

LONGEST_NAME = {"queue": 100, "handler": 200}


@page("view_job")
def show(request: HttpRequest) -> HttpResponse:
    shown = queues()
    context = {"title": "Queues", "queues": shown, "elsewhere": paused_elsewhere(shown), "live_seconds": 5}
    return render(request, "console/queues.html", context)


@page("add_pause")
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for the reason of a pause, and say what it does."""
    kind, name = _named(request.GET.get("queue", ""), request.GET.get("handler", ""))
    if not name:
        return redirect("console:queues")
    return render(request, "console/pause.html", {"title": f"Pause {kind} {name}", "kind": kind, "name": name})


@action("add_pause")
def pause(request: HttpRequest) -> HttpResponse:
    kind, name = _named(request.POST.get("queue", ""), request.POST.get("handler", ""))
    reason = request.POST.get("reason", "").strip()
    if not name or not reason:
        messages.warning(request, "Nothing was paused: say what to pause, and why.")
    elif pauses.pause(**{kind: name}, reason=reason, who=request.user.get_username()) is None:
        messages.warning(request, f"The {kind} {name} is paused already.")
    else:
        messages.success(request, f"Paused {kind} {name}. What runs ends by itself; all other jobs of it wait.")
    return redirect("console:queues")


@action("change_pause")
def resume(request: HttpRequest) -> HttpResponse:
    kind, name = _named(request.POST.get("queue", ""), request.POST.get("handler", ""))
    if name and pauses.resume(**{kind: name}, who=request.user.get_username()):
        messages.success(request, f"Resumed {kind} {name}.")
    else:
        messages.warning(request, f"Nothing was resumed: the {kind} {name} is not paused.")
    return _back(request)


def _named(queue: str, handler: str) -> tuple[str, str]:
    """Return what a request names: ("queue", name) or ("handler", name). No name if it names both or none."""
    kind, name = ("queue", queue) if queue else ("handler", handler)
    is_one = bool(queue) != bool(handler) and len(name) <= LONGEST_NAME[kind]
    return kind, name if is_one else ""


def _back(request: HttpRequest) -> HttpResponse:
    """Return to the page whose banner was used, or to the queues."""
    to = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(to, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return HttpResponseRedirect(to)
    return HttpResponseRedirect(reverse("console:queues"))


urlpatterns = [
    path("queues/", show, name="queues"),
    path("queues/pause/", ask, name="pause-form"),
    path("queues/pause/now/", pause, name="pause"),
    path("queues/resume/", resume, name="resume"),
]
