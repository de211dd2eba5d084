"""The page before jobs are run again or given up: it shows how many exactly, and asks why. The log keeps the reason.

The page fixes the selection: jobs that are created or that end later are not changed. So if two operators (or two
clicks) ask to run the same job again, it runs again once. If there are more jobs than one request can change, the page
asks again for the rest.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from webhooks.admin import lists
from webhooks.inbox.operations import Operation, carry_out, forecast, in_number, in_words
from webhooks.models import Job

LARGEST_ID = 2**63 - 1

logger = logging.getLogger(__name__)


class Answer(forms.Form):
    """The reason that the page asks for, and the values by which it fixes the selection."""

    reason = forms.CharField(max_length=200, label="Why", widget=forms.TextInput({"size": 60, "autofocus": True}))
    after = forms.IntegerField(min_value=0, max_value=LARGEST_ID, required=False, widget=forms.HiddenInput)
    newest = forms.IntegerField(min_value=0, max_value=LARGEST_ID, required=False, widget=forms.HiddenInput)
    until = forms.DateTimeField(required=False, widget=forms.HiddenInput)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An operator's request: `operation` on `jobs`, each chosen by hand or all by a filter."""

    request: HttpRequest
    model_admin: "ModelAdmin[Any]"
    operation: Operation
    jobs: QuerySet[Job]
    is_by_filter: bool = False
    back: str
    """The page to return to."""


def ask_or_carry_out(wish: Wish) -> HttpResponse:
    """Return the page that asks. If it was answered, carry the operation out, and return to the page before."""
    posted = wish.request.POST
    if not ("reason" in posted and posted.get("newest") and posted.get("until")):
        return _page(wish, Answer(initial=_fixed_now()))
    answer = Answer(posted)
    if not answer.is_valid():
        return _page(wish, answer)
    jobs, reason = _within(wish.jobs, answer.cleaned_data), answer.cleaned_data["reason"]
    before = forecast(wish.operation, jobs if wish.is_by_filter else wish.jobs)
    changed, reached = _by_filter(wish, jobs, reason) if wish.is_by_filter else _one_by_one(wish, jobs, reason)
    logger.info(
        "operator changed jobs",
        extra={"operation": wish.operation.name, "user": wish.request.user.get_username(), "changed": changed},
    )
    is_whole = changed == before.changing and not before.left
    text = in_words(wish.operation, changed, left="" if reached else before.left_after(changed))
    messages.add_message(wish.request, messages.SUCCESS if is_whole else messages.WARNING, text)
    if reached is None:
        return HttpResponseRedirect(wish.back)
    return _page(wish, Answer(initial=answer.cleaned_data | {"after": reached}))


def _one_by_one(wish: Wish, jobs: QuerySet[Job], reason: str) -> tuple[int, None]:
    """Change jobs that were chosen by hand, each with an entry in its own history."""
    changed = 0
    for job in Job.objects.filter(pk__in=list(jobs.values_list("pk", flat=True))).only("handler").order_by("pk"):
        with transaction.atomic():
            if wish.operation.carry_out(jobs.filter(pk=job.pk)):
                _entry(wish, reason, object_id=str(job.pk), object_repr=str(job)[:200]).save()
                changed += 1
    return changed, None


def _by_filter(wish: Wish, jobs: QuerySet[Job], reason: str) -> tuple[int, int | None]:
    """Change as many jobs as one request may, with one log entry; return how many, and the last job if not all."""
    entry = _entry(wish, f"{reason} (selected by {wish.request.GET.urlencode()})", object_id=None)

    def note(changed: int) -> None:
        entry.object_repr = in_number(changed)
        entry.save()

    done = carry_out(wish.operation, jobs, note=note)
    return done.changed, done.reached


def _entry(wish: Wish, reason: str, **about: Any) -> LogEntry:
    return LogEntry(
        user_id=wish.request.user.pk or 0,
        content_type=ContentType.objects.get_for_model(Job),
        action_flag=CHANGE,
        change_message=f"{wish.operation.label}: {reason}",
        **about,
    )


def _fixed_now() -> dict[str, Any]:
    """Return the values that fix a selection to its jobs of now, by the database's clock."""
    newest = Job.objects.order_by("-pk").values_list("pk", Now()).first()
    return dict(zip(("newest", "until"), newest, strict=True)) if newest else {}


def _within(jobs: QuerySet[Job], fixed: Mapping[str, Any]) -> QuerySet[Job]:
    if (newest := fixed.get("newest")) is not None:
        jobs = jobs.filter(pk__lte=newest)
    if (after := fixed.get("after")) is not None:
        jobs = jobs.filter(pk__gt=after)
    if (until := fixed.get("until")) is not None:
        jobs = jobs.filter(Q(finished_at=None) | Q(finished_at__lte=until))
    return jobs


def _page(wish: Wish, answer: Answer) -> HttpResponse:
    fixed = answer.cleaned_data if answer.is_bound else answer.initial
    context = {
        **wish.model_admin.admin_site.each_context(wish.request),
        "title": f"{wish.operation.label}?",
        "opts": wish.model_admin.opts,
        "wish": wish,
        "answer": answer,
        "forecast": forecast(wish.operation, _within(wish.jobs, fixed)),
        "chosen": wish.request.POST.getlist("_selected_action"),
        "action": wish.request.POST.get("action", ""),
        "media": wish.model_admin.media,
        "first_rows": f"{lists.MOST_LOOKED_AT:,}" if lists.is_cut_off(wish.request) else "",
    }
    return TemplateResponse(wish.request, "admin/webhooks/confirmation.html", context)
