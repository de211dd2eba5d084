"""The engines keep to one contract: what one of them writes, the other writes too."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox import due, postgresql, sqlite
from webhooks.inbox.engine import Engine, engine
from webhooks.models import Attempt, Job
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
