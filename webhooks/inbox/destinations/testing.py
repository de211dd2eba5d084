"""Sends a test to a destination: a delivery like GitHub's ping, with one job, which a worker runs as any other."""

import uuid
from dataclasses import replace
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from webhooks.github.payload import JSON
from webhooks.inbox import audit
from webhooks.inbox.destinations.known import subscription_of
from webhooks.inbox.new_delivery import NewDelivery
from webhooks.inbox.sent import Sent, delivery_of
from webhooks.inbox.store import store_if_new
from webhooks.models import Destination, Pause
from webhooks.subscriptions.subscription import Subscriptions

OWN_PAUSES = (Pause.Kind.OFF, Pause.Kind.BREAKER)


def send_test(destination: Destination, *, who: str) -> int | None:
    """Make a test's job and return it. It runs also while the destination is switched off, or its breaker open."""
    new = _ping(destination)
    with transaction.atomic():
        stored = store_if_new(new)
        if stored is None or not stored.to_publish:
            return None
        job_id = stored.to_publish[0].id
        held = Q(handler=destination.handler, kind__in=OWN_PAUSES, resumed_at=None)
        Pause.objects.filter(held).update(admitted_job=job_id)
        audit.record("test_destination", who=who, scope=f"destination {destination.name}", jobs=[job_id])
    return job_id


def _ping(destination: Destination) -> NewDelivery:
    payload: dict[str, Any] = {
        "zen": "A test sent by hand.",
        "hook_id": 0,
        "hook": {"type": "Hookline", "name": destination.name, "active": destination.is_enabled, "events": ["ping"]},
    }
    ping: dict[str, Any] = {"events": frozenset({"ping"}), "actions": None, "where": {}, "takes_events": True}
    sent = Sent(
        source=settings.HOOKLINE_SOURCES[0],
        headers={"Content-Type": JSON, "X-GitHub-Event": "ping", "X-GitHub-Delivery": str(uuid.uuid4())},
        body=orjson.dumps(payload),
        payload=payload,
    )
    return delivery_of(sent, Subscriptions([replace(subscription_of(destination), **ping)]), secret_fingerprint="")
