"""Destinations: where deliveries are forwarded to. Operators pause and resume them, administrators change them."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from webhooks.console.access import action, page
from webhooks.console.destination_form import ORDERS, PARTIES, DestinationForm, defaults, queues, written
from webhooks.encryption import EncryptionError
from webhooks.inbox.destinations import breaker, changing, testing
from webhooks.inbox.destinations.preview import MOST_DELIVERIES, preview
from webhooks.inbox.destinations.sealing import KEYLESS
from webhooks.inbox.destinations.standing import standings
from webhooks.models import Destination

LIVE_SECONDS = 5
SHOWN_MATCHES = 10
WITHOUT_REASON = "Say why in a few words."
UNREADABLE = "A stored header cannot be read with the keys that are given: write its value again, or leave it out."


@page("view_destination")
def show(request: HttpRequest) -> HttpResponse:
    context = {"title": "Destinations", "destinations": standings(), "live_seconds": LIVE_SECONDS}
    return render(request, "console/destinations.html", context)


@page("add_destination")
def ask_to_add(request: HttpRequest) -> HttpResponse:
    return _form(request, None, defaults(), {})


@action("add_destination")
def add(request: HttpRequest) -> HttpResponse:
    form = DestinationForm(request.POST.dict(), row=None)
    form.check_name()
    if not form.errors:
        try:
            with transaction.atomic():
                changing.create(form.name, form.values, form.secrets, who=request.user.get_username())
        except EncryptionError:
            form.errors[""] = KEYLESS
        except IntegrityError:
            form.errors["name"] = "There is a destination of this name."
    if form.errors:
        return _form(request, None, form.given, form.errors)
    messages.success(request, f"Made {form.name}. It is off: send it a test, then switch it on.")
    return redirect("console:destinations")


@page("change_destination")
def ask_to_change(request: HttpRequest, name: str) -> HttpResponse:
    row = _stored(name)
    return _form(request, row, written(row), {})


@action("change_destination")
def change(request: HttpRequest, name: str) -> HttpResponse:
    row = _stored(name)
    form = DestinationForm(request.POST.dict(), row=row)
    if not form.errors:
        try:
            changing.change(row.pk, form.values, form.secrets, who=request.user.get_username())
        except EncryptionError:
            form.errors[""] = UNREADABLE if settings.HOOKLINE_DESTINATION_KEYS else KEYLESS
    if form.errors:
        return _form(request, row, form.given, form.errors)
    messages.success(request, f"Changed {name}. Every process has it within seconds.")
    return redirect("console:destinations")


@action("add_destination")
def preview_filter(request: HttpRequest) -> HttpResponse:
    """Answer with a part of the form's page: which of the newest deliveries what is written there would match."""
    form = DestinationForm(request.POST.dict(), row=None)
    context: dict[str, Any] = {"error": next(iter(form.filter_errors.values()), ""), "most": MOST_DELIVERIES}
    if not form.filter_errors:
        found = preview(form.unsaved())
        context |= {"found": found, "shown": found.matching[:SHOWN_MATCHES]}
    return render(request, "console/destination_preview.html", context)


@action("change_destination")
def send_test(request: HttpRequest, name: str) -> HttpResponse:
    job = testing.send_test(_stored(name), who=request.user.get_username())
    if job is None:
        messages.warning(request, f"No test was sent to {name}.")
        return redirect("console:destinations")
    messages.success(request, f"A test of {name} waits for a worker; this is its job.")
    return redirect("console:job", job)


@page("add_pause")
def ask_to_pause(request: HttpRequest, name: str) -> HttpResponse:
    return _confirmation(request, _stored(name), "pause")


@action("add_pause")
def pause(request: HttpRequest, name: str) -> HttpResponse:
    row, reason = _stored(name), _reason(request)
    if not reason:
        return _confirmation(request, row, "pause", error=WITHOUT_REASON)
    done = changing.switch(name, on=False, who=request.user.get_username(), reason=reason)
    words = f"Paused {name}. Nothing new is taken for it, and the jobs that it has wait."
    return _told(request, words if done else "", otherwise=f"{name} is paused already.")


@action("change_pause")
def resume(request: HttpRequest, name: str) -> HttpResponse:
    done = changing.switch(_stored(name).name, on=True, who=request.user.get_username())
    words = f"Switched {name} on. What comes from now on, and what waits, is sent."
    return _told(request, words if done else "", otherwise=f"{name} is on already.")


@action("change_pause")
def close_breaker(request: HttpRequest, name: str) -> HttpResponse:
    done = breaker.close(_stored(name).name, who=request.user.get_username())
    words = f"Closed the breaker of {name}: all its jobs go on at once."
    return _told(request, words if done else "", otherwise=f"The breaker of {name} is closed already.")


@page("delete_destination")
def ask_to_delete(request: HttpRequest, name: str) -> HttpResponse:
    return _confirmation(request, _stored(name), "delete")


@action("delete_destination")
def delete(request: HttpRequest, name: str) -> HttpResponse:
    row, reason = _stored(name), _reason(request)
    if not reason:
        return _confirmation(request, row, "delete", error=WITHOUT_REASON)
    done = changing.delete(name, who=request.user.get_username(), reason=reason)
    words = f"Deleted {name}. A relay ends its waiting jobs as dead."
    return _told(request, words if done else "", otherwise=f"{name} is deleted already.")


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()


def _told(request: HttpRequest, done: str, *, otherwise: str) -> HttpResponse:
    """Go back to the list, and say there what was done; if that is nothing, why."""
    if done:
        messages.success(request, done)
    else:
        messages.warning(request, otherwise)
    return redirect("console:destinations")


def _stored(name: str) -> Destination:
    row = Destination.objects.filter(name=name).first()
    if row is None:
        raise Http404
    return row


def _form(
    request: HttpRequest, row: Destination | None, given: Mapping[str, str], errors: Mapping[str, str]
) -> HttpResponse:
    context = {
        "title": f"Change {row.name}" if row else "New destination",
        "row": row,
        "origin": changing.origin_of(row.url) if row else "",
        # What was written of secrets is not sent back to the browser: it is to be written again.
        "given": {**given, "signing_secret": "", "headers": _names_only(given.get("headers", ""))},
        "errors": errors,
        "signings": Destination.Signing.choices,
        "queues": [(queue, queue) for queue in queues()],
        "parties": PARTIES.items(),
        "orders": ORDERS.items(),
        "keyless": "" if settings.HOOKLINE_DESTINATION_KEYS else KEYLESS,
    }
    return render(request, "console/destination_form.html", context, status=400 if errors else 200)


def _names_only(headers: str) -> str:
    return "\n".join(f"{line.partition(':')[0].strip()}:" for line in headers.splitlines() if line.strip())


def _confirmation(request: HttpRequest, row: Destination, what: str, *, error: str = "") -> HttpResponse:
    context = {
        "title": f"{what.capitalize()} {row.name}",
        "row": row,
        "what": what,
        "error": error,
    }
    return render(request, "console/destination_confirm.html", context, status=400 if error else 200)


urlpatterns = [
    path("destinations/", show, name="destinations"),
    path("destinations/new/", ask_to_add, name="destination-new"),
    path("destinations/add/", add, name="destination-add"),
    path("destinations/preview/", preview_filter, name="destination-preview"),
    path("destinations/of/<slug:name>/", ask_to_change, name="destination-form"),
    path("destinations/of/<slug:name>/change/", change, name="destination-change"),
    path("destinations/of/<slug:name>/test/", send_test, name="destination-test"),
    path("destinations/of/<slug:name>/pause/", ask_to_pause, name="destination-pause-form"),
    path("destinations/of/<slug:name>/pause/now/", pause, name="destination-pause"),
    path("destinations/of/<slug:name>/resume/", resume, name="destination-resume"),
    path("destinations/of/<slug:name>/close/", close_breaker, name="destination-close"),
    path("destinations/of/<slug:name>/delete/", ask_to_delete, name="destination-delete-form"),
    path("destinations/of/<slug:name>/delete/now/", delete, name="destination-delete"),
]
