"""The engines keep to one contract: what one of them writes, the other writes too."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from tests.publishing.test_relay import SUBSCRIPTION
from tests.support.inbox_rows import make_delivery, make_job, new_delivery
from webhooks.inbox import due, postgresql, sqlite
from webhooks.inbox.engine import Engine, engine
from webhooks.inbox.new_delivery import NewDelivery
from webhooks.models import Attempt, Delivery, Job, Payload, Source
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

WAITS = {"publish_at": Now() - timedelta(seconds=1), "publications": 2, "attempt": 4, "budget_from_attempt": 4}
CHANGE = {
    "delay": timedelta(seconds=7),
    "forgives": 1,
    "loses": 0,
    "result": "",
    "error": "no",
    "fingerprint": "f" * 16,
    "outcome": "failed",
    "message": "no",
    "traceback": "Traceback …",
}


def engines() -> list[Engine]:
    """Return the engines that this database can run."""
    return [postgresql, sqlite] if connection.vendor == "postgresql" else [sqlite]


def facts_of(job: Job) -> dict[str, Any]:
    """Return what the job and its attempts hold, without what differs between two jobs; moments as if they are set."""
    own = Job.objects.filter(pk=job.pk).values().get()
    [attempt] = Attempt.objects.filter(job=job).values()
    facts = {f"job {name}": value for name, value in own.items()} | {f"run {name}": it for name, it in attempt.items()}
    ours = {"job id", "job delivery_id", "run id", "run job_id"}
    return {
        name: value is not None if name.endswith(("_at", "_until")) else value
        for name, value in facts.items()
        if name not in ours
    }


def inserted(one: Engine, deliveries: list[NewDelivery]) -> list[tuple[Any, ...] | None]:
    """Insert deliveries, and return for each what the rows say of it; None if it was not inserted."""
    told: list[tuple[Any, ...] | None] = []
    for stored, new in zip(one.insert(deliveries), deliveries, strict=True):
        if stored is None:
            told.append(None)
            continue
        row: dict[str, Any] = dict(Delivery.objects.filter(pk=stored.delivery_id).values().get())
        assert (row.pop("id"), row.pop("guid"), row.pop("hook_id")) == (stored.delivery_id, new.guid, new.hook_id)
        assert row.pop("received_at")
        jobs = Job.objects.filter(delivery_id=stored.delivery_id).order_by("handler")
        assert sorted((job.id, job.handler, job.queue) for job in stored.to_publish) == sorted(
            jobs.values_list("pk", "handler", "queue")
        )
        assert not stored.is_duplicate
        facts: list[dict[str, Any]] = [dict(job) for job in jobs.values()]
        for fact in facts:
            del fact["id"], fact["delivery_id"], fact["due_at"], fact["budget_from_at"]
            assert fact.pop("publish_at") - fact.pop("created_at") >= due.PUBLISH_GRACE - timedelta(milliseconds=1)
            assert (fact.pop("once_key") or "").replace(str(new.guid), "GUID") in ("", "github:GUID:shop.bill")
        told.append((row, bytes(Payload.objects.get(pk=stored.delivery_id).body), facts, stored.job_count))
    return told


def test_what_one_engine_inserts_the_other_does_too() -> None:
    Source.objects.create(name="github")
    count = replace(SUBSCRIPTION, name="shop.count", max_attempts=7)
    bill = replace(SUBSCRIPTION, name="shop.bill", queue="slow", once_per_event=True)
    results = []
    for hook_id, one in enumerate(engines(), start=10):
        event = uuid.uuid4()
        first = new_delivery(
            hook_id=hook_id, guid=event, action="opened", installation_id=2**62, sender="añ\U0001f600",
            headers={"Content-Type": "application/json", "User-Agent": "\"\\'é"}, body=b"\0\xff{}",
            subscriptions=[count, bill],
        )  # fmt: skip
        group = [
            first,
            new_delivery(subscriptions=[count]),
            new_delivery(source="unknown", subscriptions=[count]),
            new_delivery(body=b""),
            new_delivery(hook_id=hook_id + 100, guid=event, subscriptions=[count, bill]),
        ]
        results.append(inserted(one, group))
        assert inserted(one, [first, new_delivery()])[0] is None
        assert inserted(one, [new_delivery(hook_id=hook_id + 200, guid=event, subscriptions=[bill])])[0] is not None
        assert Job.objects.filter(handler="shop.bill", once_key__contains=str(event)).count() == 1
    assert all(result == results[0] for result in results)
    assert [told and told[3] for told in results[0]] == [2, 1, None, 0, 1]


def test_each_database_has_its_own_engine() -> None:
    assert engine() is (postgresql if connection.vendor == "postgresql" else sqlite)


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("due_in_seconds", [-5, 60])
def test_every_engine_claims_what_is_claimable_and_nothing_else(state: JobState, due_in_seconds: float) -> None:
    for one in engines():
        job = make_job(state, due_at=Now() + timedelta(seconds=due_in_seconds))
        is_claimable = Job.objects.filter(due.CLAIMABLE, pk=job.pk).exists()
        assert (one.claim(job.pk, worker="w", pid=1, lease_seconds=30) is not None) is is_claimable


@pytest.mark.parametrize(("state", "is_final"), [(JobState.RETRYING, False), (JobState.DEAD, True)])
def test_what_one_engine_claims_and_records_the_other_does_too(state: JobState, is_final: bool) -> None:
    claims, ends = [], []
    guid = uuid.uuid4()
    for hook, one in enumerate(engines()):
        delivery = make_delivery(headers={"Content-Type": "application/json"})
        type(delivery).objects.filter(pk=delivery.pk).update(guid=guid, hook_id=hook, received_at=Now())
        job = make_job(JobState.QUEUED, delivery=delivery, **WAITS)
        row = one.claim(job.pk, worker="w", pid=1, lease_seconds=30)
        assert row is not None
        assert row[:3] == (job.pk, job.handler, 5)
        claims.append((len(row), row[10:13], row[14:17], row[18:], facts_of(job)))
        change = CHANGE | {"job": job.pk, "attempt": 5, "state": state.value, "is_final": is_final}
        assert not one.record(change | {"attempt": 4})
        assert one.record(change)
        assert not one.record(change)
        ends.append(facts_of(job))
        due_in = Job.objects.filter(pk=job.pk).annotate(left=F("due_at") - Now()).values_list("left", flat=True).get()
        assert (due_in > timedelta(seconds=1)) is not is_final
    assert all(claim == claims[0] for claim in claims)
    assert all(end == ends[0] for end in ends)
