"""Rows of the inbox, and users who look at them in the admin."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from webhooks.inbox.new_delivery import NewDelivery
from webhooks.models import Delivery, Job, Payload, Recovery, Source
from webhooks.states import JobState

JOBS = "/admin/webhooks/job/"
DELIVERIES = "/admin/webhooks/delivery/"
EVIL = "</pre><script>alert('x')</script>"


def make_delivery(body: bytes | None = b'{"zen": "Keep it"}', **columns: Any) -> Delivery:
    """Store a delivery, of a push to acme/widgets if nothing else is said; without a body, its payload is pruned."""
    source, _ = Source.objects.get_or_create(name="github")
    values = {
        "hook_id": 1,
        "guid": uuid.uuid4(),
        "event": "push",
        "repository": "acme/widgets",
        "headers": {"Content-Type": "application/json"},
        "body_bytes": len(body or b""),
    } | columns
    delivery = Delivery.objects.create(source=source, **values)
    if body is not None:
        Payload.objects.create(delivery=delivery, body=body)
    return delivery


def new_delivery(**values: Any) -> NewDelivery:
    """Return a verified delivery that is not stored yet, of a push to acme/widgets if nothing else is said."""
    usual: dict[str, Any] = {
        "source": "github",
        "hook_id": 1,
        "guid": uuid.uuid4(),
        "event": "push",
        "action": "",
        "repository": "acme/widgets",
        "installation_id": None,
        "sender": "octo",
        "secret_fingerprint": "0" * 12,
        "headers": {"Content-Type": "application/json"},
        "body": b"{}",
        "subscriptions": [],
    }
    return NewDelivery(**usual | values)


def make_job(state: str = JobState.SUCCEEDED, *, delivery: Delivery | None = None, **columns: Any) -> Job:
    ended = timezone.now() if state in (JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED) else None
    since = columns.get("due_at", Now()) if state in (JobState.QUEUED, JobState.RETRYING) else None
    values = {
        "handler": "shop.count", "queue": "default", "max_attempts": 5, "finished_at": ended, "publish_at": since,
    } | columns  # fmt: skip
    return Job.objects.create(delivery=delivery or make_delivery(), state=state, **values)


def make_recovery(delivery: Delivery, **columns: Any) -> Recovery:
    """Make the row that says that a delivery was taken from GitHub's log."""
    given = {"delivered_at": timezone.now(), "duration_seconds": 10.2, "status": "timed out", "status_code": 504}
    return Recovery.objects.create(delivery=delivery, **{"entry_id": 9, "is_redelivery": False, **given, **columns})


def client_of(*permissions: str) -> Client:
    """Return a client logged in as staff with these permissions of the inbox, and no others."""
    user = User.objects.create_user(f"user{User.objects.count()}", is_staff=True)
    found = Permission.objects.filter(content_type__app_label="webhooks", codename__in=permissions)
    assert len(found) == len(permissions)
    user.user_permissions.set(found)
    client = Client()
    client.force_login(user)
    return client


def messages_of(response: Any) -> str:
    assert response.status_code == 200
    return " ".join(str(message) for message in response.context["messages"])


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return str(response.content.decode())


def queries_of(look: Callable[[], object]) -> int:
    """Return how many statements a look asks of the database."""
    with CaptureQueriesContext(connection) as asked:
        look()
    return len(asked)


def state_of(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)
