"""Running jobs again, retrying them now, giving them up: a page that says what would happen and asks why; then it does.

The page fixes the selection to the jobs of that moment. If there are more than one request can change, the page comes
back for the rest.
"""

import logging
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from webhooks.console import selection
from webhooks.console.access import action, page
from webhooks.console.selection import Selection
from webhooks.inbox.operations import MOST_AT_ONCE, Asked, Fixed, carry_out, fixed_now, forecast, in_words

LARGEST_ID = 2**63 - 1
HANDLERS_SHOWN = 100

logger = logging.getLogger(__name__)


class Answer(forms.Form):
    """The reason that the page asks for, and the values by which it fixes the selection."""

    reason = forms.CharField(max_length=200)
    newest = forms.IntegerField(min_value=0, max_value=LARGEST_ID)
    until = forms.DateTimeField()
    after = forms.IntegerField(min_value=0, max_value=LARGEST_ID, required=False)

    def fixed(self) -> Fixed | None:
        """Return what fixes the selection, if the form has it."""
        if not self.is_bound or any(name in self.errors for name in ("newest", "until", "after")):
            return None
        known = self.cleaned_data
        return Fixed(newest=known["newest"], until=known["until"], after=known.get("after") or 0)


@page("view_job", "change_job")
def confirm(request: HttpRequest) -> HttpResponse:
    """Show what an operation would do to a selection, or to the rest of one."""
    selected = selection.read(request.GET)
    continued = Answer(request.GET)
    return _ask(request, selected, fixed=continued.fixed(), reason=request.GET.get("reason", "")[:200])


@action("view_job", "change_job")
def change(request: HttpRequest) -> HttpResponse:
    """Carry out what the page had asked for."""
    selected, answer = selection.read(request.POST), Answer(request.POST)
    fixed = answer.fixed()
    if not answer.is_valid() or fixed is None:
        error = " ".join(map(str, answer.errors.get("reason", ())))
        return _ask(request, selected, fixed=fixed, reason=request.POST.get("reason", "")[:200], error=error)
    jobs, reason, who = fixed.within(selected.jobs), answer.cleaned_data["reason"], request.user.get_username()
    before = forecast(selected.operation, jobs if selected.is_by_search else selected.jobs)
    done = carry_out(selected.operation, jobs, asked=Asked(who=who, scope=selected.scope, reason=reason))
    logger.info(
        "operator changed jobs", extra={"operation": selected.operation.name, "user": who, "changed": done.changed}
    )
    is_whole = done.changed == before.changing and not before.left
    left = "" if done.reached else before.left_after(done.changed)
    text = in_words(selected.operation, done.changed, left=left)
    messages.add_message(request, messages.SUCCESS if is_whole else messages.WARNING, text)
    if done.reached is None:
        return HttpResponseRedirect(_back(request, selected))
    rest = [
        *selected.parameters,
        *_fixing(fixed.from_there(done.reached)),
        ("reason", reason),
        ("next", _back(request, selected)),
    ]
    return HttpResponseRedirect(f"{reverse('console:jobs-confirm')}?{urlencode(rest)}")


def _ask(
    request: HttpRequest, selected: Selection, *, fixed: Fixed | None, reason: str, error: str = ""
) -> HttpResponse:
    fixed = fixed or fixed_now()
    if fixed is None:
        raise BadRequest("There are no jobs yet.")
    expected = forecast(selected.operation, fixed.within(selected.jobs))
    context: dict[str, Any] = {
        "title": f"{selected.operation.label}?",
        "selected": selected,
        "forecast": expected,
        "parts": expected.parts[:HANDLERS_SHOWN],
        "more_parts": len(expected.parts[HANDLERS_SHOWN:]),
        "hidden": [*selected.parameters, *_fixing(fixed)],
        "is_rest": bool(fixed.after),
        "is_large": expected.changing > MOST_AT_ONCE,
        "most_at_once": MOST_AT_ONCE,
        "reason": reason,
        "error": error,
        "back": _back(request, selected),
    }
    return render(request, "console/job_confirm.html", context)


def _fixing(fixed: Fixed) -> list[tuple[str, str]]:
    values = [("newest", str(fixed.newest)), ("until", fixed.until.isoformat())]
    return [*values, ("after", str(fixed.after))] if fixed.after else values


def _back(request: HttpRequest, selected: Selection) -> str:
    """Return the page to return to: the one that the URL names, if it is one of this site, or the list."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None):
        return wanted
    return f"{reverse('console:jobs')}?{selected.list_query}"


urlpatterns = [
    path("jobs/confirm/", confirm, name="jobs-confirm"),
    path("jobs/change/", change, name="jobs-change"),
]
