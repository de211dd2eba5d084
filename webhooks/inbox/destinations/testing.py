"""Sends a test to a destination: a delivery like GitHub's ping, with one job, which a worker runs as any other."""

import uuid
from collections.abc import Sequence

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from webhooks.inbox import audit
from webhooks.inbox.destinations.known import subscription_of
from webhooks.inbox.new_delivery import NewDelivery
from webhooks.inbox.store import store_if_new
from webhooks.models import Destination, Pause

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
    guid = uuid.uuid4()
    body = {
        "zen": "A test sent by hand.",
        "hook_id": 0,
        "hook": {"type": "Hookline", "name": destination.name, "active": destination.is_enabled, "events": ["ping"]},
    }
    sources: Sequence[str] = settings.HOOKLINE_SOURCES
    return NewDelivery(
        source=sources[0],
        hook_id=0,
        guid=guid,
        event="ping",
        action="",
        repository="",
        installation_id=None,
        sender="",
        secret_fingerprint="",
        headers={"Content-Type": "application/json", "X-GitHub-Event": "ping", "X-GitHub-Delivery": str(guid)},
        body=orjson.dumps(body),
        subscriptions=[subscription_of(destination)],
    )
