"""Dead: what failed, grouped into issues; one retried as a canary, then the others; or given up."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from webhooks.console.access import action, page
from webhooks.inbox import issue_actions
from webhooks.inbox.issues import NO_FINGERPRINT, Issue, dead_of, issue_of, issues_in
from webhooks.inbox.operations import GIVE_UP, RUN_AGAIN, Operation, forecast, in_number, in_words
from webhooks.models import IssueMark

SHOWN = 30
NEWEST_SHOWN = 20
_OPERATIONS = {"retry": RUN_AGAIN, "give-up": GIVE_UP}
_VERBS = {"retry": "Retry", "give-up": "Give up"}


@page("view_job")
def show(request: HttpRequest) -> HttpResponse:
    """Show the issues of one state; the open ones if the URL says nothing else."""
    state = request.GET.get("state", IssueMark.State.OPEN)
    if state not in IssueMark.State.values:
        state = IssueMark.State.OPEN
    found = issues_in(state, limit=SHOWN)
    context = {
        "title": "Dead",
        "found": found,
        "chosen_state": state,
        "states": IssueMark.State.choices,
        "keep_dead_days": settings.HOOKLINE_KEEP_DEAD_DAYS,
        "live_seconds": 10,
    }
    return render(request, "console/dead.html", context)


@page("view_job")
def show_issue(request: HttpRequest, key: str) -> HttpResponse:
    fingerprint = _fingerprint(key)
    issue, mark = issue_of(fingerprint), IssueMark.objects.filter(fingerprint=fingerprint).first()
    if issue is None and mark is None:
        raise Http404
    canary = issue_actions.canary_of(mark.canary_job if mark else None, last_at=issue.last_at if issue else None)
    newest = dead_of(fingerprint).select_related("delivery").defer("delivery__headers")
    context = {
        "title": "Issue",
        "issue": issue,
        "key": key,
        "mark": mark,
        "canary": canary,
        "newest": newest.order_by("-finished_at", "-id")[:NEWEST_SHOWN],
        "newest_shown": NEWEST_SHOWN,
        "live_seconds": 2 if canary and canary.is_under_way else 10,
    }
    return render(request, "console/issue.html", context)


@action("change_issuemark")
def mark(request: HttpRequest, key: str) -> HttpResponse:
    state, note = request.POST.get("state", ""), request.POST.get("note", "").strip()
    _issue_or_404(key)
    if state not in IssueMark.State.values:
        raise Http404
    issue_actions.mark(_fingerprint(key), state, note=note, who=request.user.get_username())
    messages.success(request, f"The issue is {state} now.")
    return redirect("console:issue", key)


@action("change_job")
def canary(request: HttpRequest, key: str) -> HttpResponse:
    job = issue_actions.retry_one(_fingerprint(key), who=request.user.get_username())
    if job is None:
        messages.warning(request, "Nothing was retried: no job of it is dead and still has its payload.")
    else:
        messages.success(request, f"Job {job} was queued to run again. Wait here for how it ends.")
    return redirect("console:issue", key)


@page("change_job")
def ask(request: HttpRequest, key: str, verb: str) -> HttpResponse:
    """Ask before a whole group is changed: with the exact count, for a reason."""
    return _confirmation(request, key, verb, reason="")


@action("change_job")
def act(request: HttpRequest, key: str, verb: str) -> HttpResponse:
    operation, fingerprint = _operation(verb), _fingerprint(key)
    reason, until = request.POST.get("reason", "").strip(), _moment(request.POST.get("until", ""))
    issue = _issue_or_404(key)
    if not reason or until is None:
        messages.warning(request, "Nothing was changed: say why.")
        return _confirmation(request, key, verb, reason=reason)
    if verb == "retry" and not _may_retry_all(issue) and request.POST.get("anyway") != "yes":
        messages.warning(request, "Nothing was changed: no canary has succeeded. Choose to retry all the same.")
        return _confirmation(request, key, verb, reason=reason)
    jobs = issue_actions.group(fingerprint, until=until)
    before = forecast(operation, jobs)
    done = issue_actions.act_on_group(
        operation, jobs, fingerprint=fingerprint, who=request.user.get_username(), reason=reason
    )
    text = in_words(operation, done.changed, left="" if done.reached else before.left_after(done.changed))
    if done.reached is None:
        messages.success(request, text)
        return redirect("console:issue", key)
    messages.warning(request, f"{text} There are more: continue below.")
    return _confirmation(request, key, verb, reason=reason)


def _confirmation(request: HttpRequest, key: str, verb: str, *, reason: str) -> HttpResponse:
    issue, operation = _issue_or_404(key), _operation(verb)
    now = timezone.now()
    foreseen = forecast(operation, issue_actions.group(_fingerprint(key), until=now))
    context: dict[str, Any] = {
        "title": f"{_VERBS[verb]} {in_number(foreseen.changing).lower()}?",
        "issue": issue,
        "key": key,
        "verb": verb,
        "button": f"{_VERBS[verb]} {in_number(foreseen.changing).lower()}",
        "foreseen": foreseen,
        "until": now.isoformat(),
        "reason": reason,
        "needs_choice": verb == "retry" and not _may_retry_all(issue),
    }
    return render(request, "console/issue_confirm.html", context)


def _may_retry_all(issue: Issue) -> bool:
    """Tell whether the issue's canary has succeeded, so that retrying the others needs no second thought."""
    found = issue_actions.canary_of(issue.canary_job_id, last_at=issue.last_at)
    return found is not None and found.has_succeeded


def _issue_or_404(key: str) -> Issue:
    issue = issue_of(_fingerprint(key))
    if issue is None:
        raise Http404
    return issue


def _fingerprint(key: str) -> str:
    return "" if key == NO_FINGERPRINT else key


def _operation(verb: str) -> Operation:
    if verb not in _OPERATIONS:
        raise Http404
    return _OPERATIONS[verb]


def _moment(given: str) -> datetime | None:
    try:
        at = parse_datetime(given)
    except ValueError:
        return None
    return at if at is not None and timezone.is_aware(at) else None


urlpatterns = [
    path("dead/", show, name="dead"),
    path("dead/<slug:key>/", show_issue, name="issue"),
    path("dead/<slug:key>/mark/", mark, name="issue-mark"),
    path("dead/<slug:key>/canary/", canary, name="issue-canary"),
    path("dead/<slug:key>/<slug:verb>/", ask, name="issue-ask"),
    path("dead/<slug:key>/<slug:verb>/now/", act, name="issue-act"),
]
