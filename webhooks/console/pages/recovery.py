"""Recovery: what passes over GitHub's own logs found missing, took in, and could not take in."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path
from django.utils import timezone

from webhooks.console.access import page
from webhooks.console.keyset import Order, page_of
from webhooks.inbox.counts import FEW, capped
from webhooks.models import HookLog, LogPass, MissedDelivery, Recovery

MOST_LOGS = 50
MOST_RECOVERED = 50
LARGEST_ID = 2**63 - 1
LIVE_SECONDS = 10
NEWEST_FIRST = Order("started_at")
FOUND_LAST = Order("found_at")


@page("view_logpass")
def recovery(request: HttpRequest) -> HttpResponse:
    """Show each log, and the passes over all of them or one."""
    log, (after, before) = _log(request.GET.get("log", "")), _place(request)
    passes = LogPass.objects.select_related("log")
    shown = page_of(passes.filter(log=log) if log else passes, NEWEST_FIRST, after=after, before=before)
    context = {
        "title": "Recovery",
        "logs": [_standing(each) for each in HookLog.objects.order_by("source", "hook")[:MOST_LOGS]],
        "log": log,
        "filters": {"query": f"log={log.pk}" if log else ""},
        "page": shown,
        "live_seconds": LIVE_SECONDS,
    }
    return render(request, "console/recovery.html", context)


@page("view_logpass")
def one_pass(request: HttpRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(LogPass.objects.select_related("log"), pk=min(pk, LARGEST_ID))
    taken = Recovery.objects.filter(log_pass=shown).select_related("delivery").defer("delivery__headers")
    context = {
        "title": f"Pass {shown.pk}",
        "shown": shown,
        "recovered": list(taken.order_by("pk")[:MOST_RECOVERED]) if _may_view_deliveries(request) else [],
        "most_recovered": MOST_RECOVERED,
        "live_seconds": LIVE_SECONDS if shown.state == LogPass.State.RUNNING else 0,
    }
    return render(request, "console/recovery_pass.html", context)


@page("view_misseddelivery")
def missed(request: HttpRequest) -> HttpResponse:
    found, (after, before) = MissedDelivery.objects.select_related("log"), _place(request)
    context = {"title": "Missed deliveries", "page": page_of(found, FOUND_LAST, after=after, before=before)}
    return render(request, "console/recovery_missed.html", context)


def _standing(log: HookLog) -> dict[str, Any]:
    missed_here = MissedDelivery.objects.filter(log=log)
    return {
        "log": log,
        "is_being_read": log.lease_until is not None and log.lease_until > timezone.now(),
        "open": capped(missed_here.filter(is_open=True), most=FEW),
        "lost": capped(missed_here.filter(is_open=False), most=FEW),
    }


def _log(given: str) -> HookLog | None:
    is_number = given.isascii() and given.isdecimal() and len(given) <= 18
    return HookLog.objects.filter(pk=int(given)).first() if is_number else None


def _place(request: HttpRequest) -> tuple[str, str]:
    return request.GET.get("after", ""), request.GET.get("before", "")


def _may_view_deliveries(request: HttpRequest) -> bool:
    return request.user.has_perm("webhooks.view_delivery")


urlpatterns = [
    path("recovery/", recovery, name="recovery"),
    path("recovery/passes/<int:pk>/", one_pass, name="recovery-pass"),
    path("recovery/missed/", missed, name="recovery-missed"),
]
