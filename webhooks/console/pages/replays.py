"""Replays: jobs run again by a filter, and the missing jobs of a new handler made; asked for, watched and stopped here.

The counting and the running are `webhooks/inbox/replays/`'s; no request runs a job.
"""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path

from webhooks.console.access import action, page
from webhooks.console.keyset import Order, page_of
from webhooks.console.replay_form import ConfirmForm, ScopeForm
from webhooks.inbox.replays import counting, life
from webhooks.inbox.replays.progress import progress_of
from webhooks.inbox.replays.scope import Scope
from webhooks.models import Replay, ReplayItem
from webhooks.subscriptions.installed import installed_subscriptions

ERRORS_SHOWN = 50
NEWEST_FIRST = Order("created_at")
LIVE_SECONDS = 3
LIST_LIVE_SECONDS = 10


@page("view_replay")
def replays(request: HttpRequest) -> HttpResponse:
    found = page_of(
        Replay.objects.all(), NEWEST_FIRST, after=request.GET.get("after", ""), before=request.GET.get("before", "")
    )
    shown = [progress_of(replay) for replay in found.rows]
    context = {"title": "Replays", "page": found, "replays": shown, "live_seconds": LIST_LIVE_SECONDS}
    return render(request, "console/replays.html", context)


@page("add_replay")
def new(request: HttpRequest) -> HttpResponse:
    """Ask for the filters. Those in the URL are filled in."""
    return _ask(request, ScopeForm(initial={"state": "dead"} | request.GET.dict()))


def _ask(request: HttpRequest, form: ScopeForm) -> HttpResponse:
    handlers = sorted(each.name for each in installed_subscriptions())
    context = {"title": "New replay", "form": form, "handlers": handlers}
    return render(request, "console/replay_new.html", context)


@page("add_replay")
def preview(request: HttpRequest) -> HttpResponse:
    """Count what the filters hold, and ask for a rate and a reason."""
    form = ScopeForm(request.GET)
    if not form.is_valid():
        return _ask(request, form)
    confirm = ConfirmForm(initial={"rate": life.USUAL_RATE})
    return _preview(request, form.scope, confirm, counting.freeze(form.scope))


def _preview(request: HttpRequest, scope: Scope, form: ConfirmForm, frozen: counting.Frozen) -> HttpResponse:
    counted = counting.count(scope, frozen, seconds=life.COUNT_SECONDS)
    known = {each.name for each in installed_subscriptions()}
    context: dict[str, Any] = {
        "title": "Preview of a replay",
        "scope": scope,
        "frozen": frozen,
        "counted": counted,
        "counted_to": None if counted.is_complete else counting.received_at(scope, counted),
        "count_seconds": life.COUNT_SECONDS,
        "handlers": [(name, count, name in known) for name, count in counted.by_handler.items()],
        "form": form,
    }
    return render(request, "console/replay_preview.html", context)


@action("add_replay")
def begin(request: HttpRequest) -> HttpResponse:
    chosen, confirm = ScopeForm(request.POST), ConfirmForm(request.POST)
    if not chosen.is_valid():
        return _ask(request, chosen)
    scope = chosen.scope
    if not confirm.is_valid():
        return _preview(request, scope, confirm, counting.freeze(scope))
    frozen = confirm.frozen(scope)
    counted = counting.count(scope, frozen, seconds=life.COUNT_SECONDS)
    replay = life.begin(
        scope,
        frozen,
        counted,
        who=request.user.get_username(),
        reason=confirm.cleaned_data["reason"],
        rate=confirm.cleaned_data["rate"],
    )
    return redirect("console:replay", replay.pk)


@page("view_replay")
def replay(request: HttpRequest, replay_id: int) -> HttpResponse:
    found = get_object_or_404(Replay, pk=replay_id)
    errors = ReplayItem.objects.filter(replay=found, is_open=False, pk__gt=_number(request.GET.get("after", "")))
    items = list(errors.select_related("delivery").defer("delivery__headers").order_by("pk")[: ERRORS_SHOWN + 1])
    context = {
        "title": f"Replay {found.pk}",
        "replay": progress_of(found),
        "items": items[:ERRORS_SHOWN],
        "after": items[ERRORS_SHOWN - 1].pk if len(items) > ERRORS_SHOWN else None,
        "is_first": "after" not in request.GET,
        "live_seconds": LIVE_SECONDS if found.is_active else 0,
    }
    return render(request, "console/replay.html", context)


def _number(given: str) -> int:
    return int(given) if given.isascii() and given.isdecimal() and len(given) <= 18 else 0


@action("change_replay")
def pause(request: HttpRequest, replay_id: int) -> HttpResponse:
    is_done = life.pause(replay_id, who=request.user.get_username())
    return _tell(request, replay_id, "Paused. What it has queued runs on." if is_done else "")


@action("change_replay")
def go_on(request: HttpRequest, replay_id: int) -> HttpResponse:
    is_done = life.go_on(replay_id, who=request.user.get_username())
    return _tell(request, replay_id, "Continued." if is_done else "")


@action("change_replay")
def cancel(request: HttpRequest, replay_id: int) -> HttpResponse:
    put_back = life.cancel(replay_id, who=request.user.get_username())
    return _tell(request, replay_id, "" if put_back is None else f"Cancelled. {_put_back_in_words(put_back)}")


def _put_back_in_words(count: int) -> str:
    if not count:
        return "No queued job had to be put back."
    return f"{count:,} queued job{'' if count == 1 else 's'} had not begun, and will not."


def _tell(request: HttpRequest, replay_id: int, done: str) -> HttpResponse:
    if done:
        messages.success(request, done)
    else:
        messages.warning(request, "Nothing was changed: the replay's state was another one meanwhile.")
    return redirect("console:replay", replay_id)


urlpatterns = [
    path("replays/", replays, name="replays"),
    path("replays/new/", new, name="replay-new"),
    path("replays/preview/", preview, name="replay-preview"),
    path("replays/begin/", begin, name="replay-begin"),
    path("replays/<int:replay_id>/", replay, name="replay"),
    path("replays/<int:replay_id>/pause/", pause, name="replay-pause"),
    path("replays/<int:replay_id>/continue/", go_on, name="replay-continue"),
    path("replays/<int:replay_id>/cancel/", cancel, name="replay-cancel"),
]
