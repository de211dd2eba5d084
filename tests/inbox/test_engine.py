"""The engines keep to one contract: what one of them writes, the other writes too."""

import uuid
from collections.abc import Iterable, Mapping
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
from webhooks.inbox.claimed_job import SMALL_BODY_BYTES, ClaimedJob, Wanted
from webhooks.inbox.engine import Engine, engine, payload_of
from webhooks.inbox.new_delivery import NewDelivery
from webhooks.models import Attempt, Delivery, Job, Payload, Source
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

CHANGE: dict[str, Any] = {
    "state": "retrying",
    "is_final": False,
    "delay": 7.0,
    "forgives": 1,
    "loses": 0,
    "result": "",
    "error": "no",
    "fingerprint": "f" * 16,
    "outcome": "failed",
    "message": "no",
    "traceback": "Traceback …",
    "worker": "w",
    "pid": 7,
    "began": 5.0,
    "ended": 2.0,
}


def engines() -> list[Engine]:
    """Return the engines that this database can run."""
    return [postgresql, sqlite] if connection.vendor == "postgresql" else [sqlite]


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
            assert abs(fact.pop("publish_at") - fact.pop("created_at")) < timedelta(seconds=60)
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


def wanted(**values: Any) -> Wanted:
    usual: dict[str, Any] = {"worker": "w", "leases": {"shop.count": 30}, "limit": 10, "queue": "default"}
    return Wanted(**usual | values)


def waiting(seconds: float = 5, **values: Any) -> Job:
    """Store a job that has been due for so long."""
    return make_job(JobState.QUEUED, due_at=Now() - timedelta(seconds=seconds), **values)


def claims(one: Engine, **values: Any) -> list[ClaimedJob]:
    return [ClaimedJob(*row) for row in one.exchange([], wanted(**values))[1]]


def test_a_claim_brings_what_the_delivery_has_stored_of_its_trace(each: Engine) -> None:
    without, with_trace = waiting(6), waiting(5)
    Delivery.objects.filter(pk=with_trace.delivery_id).update(headers={"traceparent": "00-of-a-trace"})
    assert [(job.pk, job.traceparent) for job in claims(each)] == [(without.pk, None), (with_trace.pk, "00-of-a-trace")]


def ids(jobs: Iterable[ClaimedJob | Job]) -> list[int]:
    return [job.pk for job in jobs]


def change(job: ClaimedJob, **values: Any) -> dict[str, Any]:
    return CHANGE | {"job": job.pk, "attempt": job.attempt} | values


def bare(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without what differs between two jobs; of a moment, only whether it is set."""
    names = row.keys() - {"id", "job_id", "delivery_id"}
    return {name: row[name] is not None if name.endswith(("_at", "_until")) else row[name] for name in names}


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("due_in_seconds", [-5, 60])
@pytest.mark.parametrize("asks", ["for its queue", "for the job"])
def test_every_engine_claims_what_is_claimable_and_nothing_else(
    each: Engine, state: JobState, due_in_seconds: float, asks: str
) -> None:
    job = make_job(state, due_at=Now() + timedelta(seconds=due_in_seconds))
    is_claimable = Job.objects.filter(due.CLAIMABLE, pk=job.pk).exists()
    of_it = {"queue": None, "job_id": job.pk} if asks == "for the job" else {}
    assert ids(claims(each, **of_it)) == [job.pk] * is_claimable


@pytest.mark.parametrize(("state", "is_final"), [("retrying", False), ("dead", True)])
def test_what_one_engine_claims_and_records_the_other_does_too(state: str, is_final: bool) -> None:
    claimed, rows = [], []
    guid = uuid.uuid4()
    for hook, one in enumerate(engines()):
        delivery = make_delivery(headers={"Content-Type": "application/json"})
        Delivery.objects.filter(pk=delivery.pk).update(guid=guid, hook_id=hook, received_at=Now())
        job = waiting(delivery=delivery, attempt=4, budget_from_attempt=4)
        [run] = claims(one)
        assert (run.pk, run.delivery_id, run.hook_id, run.attempt) == (job.pk, delivery.pk, hook, 5)
        assert run.claimed_at == run.budget_from_at
        rows.append(bare(Job.objects.filter(pk=job.pk).values().get()))
        claimed.append(bare(run._replace(pk=0, delivery_id=0, hook_id=0)._asdict()))
        assert one.exchange([change(run, state=state, is_final=is_final)], None) == ({(job.pk, 5)}, [])
        [attempt] = Attempt.objects.filter(job=job).values()
        assert attempt["finished_at"] == attempt["started_at"] + timedelta(seconds=3)
        rows += [bare(Job.objects.filter(pk=job.pk).values().get()), bare(attempt)]
        due_in = Job.objects.filter(pk=job.pk).annotate(left=F("due_at") - Now()).values_list("left", flat=True).get()
        assert (due_in > timedelta(seconds=1)) is not is_final
    assert claimed == claimed[:1] * len(engines())
    assert rows == rows[:3] * len(engines())


def test_an_exchange_records_several_runs_and_claims_several_jobs_the_longest_due_first(each: Engine) -> None:
    running = [waiting() for _ in range(3)]
    runs = claims(each)
    assert ids(runs) == ids(running)
    late, early, same = waiting(10), waiting(30), waiting(10)
    Job.objects.filter(pk=same.pk).update(publish_at=Job.objects.values("publish_at").get(pk=late.pk)["publish_at"])
    further, other = waiting(5), waiting(60, queue="other")
    soon = make_job(JobState.RETRYING, due_at=Now() + timedelta(seconds=60))
    ends = [change(run, state="succeeded", is_final=True, result="done") for run in runs]
    recorded, rows = each.exchange(ends, wanted(limit=3))
    assert recorded == {(run.pk, 1) for run in runs}
    assert [row[0] for row in rows] == [early.pk, late.pk, same.pk]
    assert list(Job.objects.order_by("pk").values_list("pk", "state")) == [
        *((job.pk, "succeeded") for job in running),
        *((job.pk, "running") for job in (late, early, same)),
        *((further.pk, "queued"), (other.pk, "queued"), (soon.pk, "retrying")),
    ]
    assert Attempt.objects.filter(outcome="failed").count() == 3


def test_a_job_that_is_due_again_at_once_is_claimed_by_the_next_exchange(each: Engine) -> None:
    waiting()
    [run] = claims(each)
    assert each.exchange([change(run, delay=0.0)], wanted()) == ({(run.pk, 1)}, [])
    assert ids(claims(each)) == [run.pk]


def test_an_exchange_that_claims_nothing_still_says_what_it_has_recorded(each: Engine) -> None:
    waiting()
    [run] = claims(each)
    assert each.exchange([change(run)], wanted()) == ({(run.pk, 1)}, [])
    assert each.exchange([change(run)], wanted()) == (set(), [])
    assert each.exchange([], wanted()) == (set(), [])
    assert each.exchange([], None) == (set(), [])


def test_the_run_of_an_older_attempt_is_not_recorded_beside_that_of_the_current_one(each: Engine) -> None:
    waiting()
    [first] = claims(each)
    each.exchange([change(first, outcome="lost", delay=-60.0)], None)
    [second] = claims(each)
    late = change(first, state="succeeded", is_final=True, outcome="succeeded", result="too late")
    assert each.exchange([late], None) == (set(), [])
    waiting()
    recorded, claimed = each.exchange([late, change(second, state="dead", is_final=True)], wanted())
    assert (recorded, len(claimed)) == ({(second.pk, 2)}, 1)
    job = Job.objects.get(pk=first.pk)
    assert (job.state, job.result) == ("dead", "")
    assert list(Attempt.objects.order_by("number").values_list("number", "outcome")) == [(1, "lost"), (2, "failed")]


def test_jobs_of_unknown_handlers_are_not_claimed_and_do_not_take_the_place_of_others(each: Engine) -> None:
    unknown = [waiting(60, handler="gone.away"), waiting(60, handler="gone.away")]
    known = waiting()
    assert ids(claims(each, limit=2)) == [known.pk]
    assert claims(each, queue=None, job_id=unknown[0].pk) == []
    assert claims(each, leases={}) == []
    assert set(Job.objects.filter(state="queued").values_list("pk", flat=True)) == set(ids(unknown))


def test_the_lease_is_that_of_the_jobs_own_handler(each: Engine) -> None:
    waiting(9), waiting(8, handler="shop.bill"), waiting(7)
    runs = claims(each, leases={"shop.bill": 4000.0, "shop.count": 0.5})
    leases = dict(Job.objects.values_list("pk", F("lease_until") - F("claimed_at")))
    seconds = [(run.handler, leases[run.pk].total_seconds()) for run in runs]
    assert seconds == [("shop.count", 0.5), ("shop.bill", 4000.0), ("shop.count", 0.5)]


def test_a_small_body_comes_with_the_claim_and_a_larger_one_only_with_its_length(each: Engine) -> None:
    bodies = [b"\0\xff", b"", b"x" * SMALL_BODY_BYTES, b"x" * (SMALL_BODY_BYTES + 1)]
    for body in bodies:
        waiting(delivery=make_delivery(body))
    pruned = make_delivery(b"{}")
    Payload.objects.filter(pk=pruned.pk).delete()
    waiting(delivery=pruned)
    runs = claims(each)
    assert [run.body_bytes for run in runs] == [*map(len, bodies), 2]
    assert [None if run.body is None else bytes(run.body) for run in runs] == [*bodies[:3], None, None]
    assert payload_of(runs[3].delivery_id) == bodies[3]
    assert payload_of(pruned.pk) is None


def test_a_release_gives_back_claims_and_returns_how_many(each: Engine) -> None:
    waiting(30), waiting(20), waiting(10, lost=1)
    unbegun, recorded, noted = claims(each)
    each.exchange([change(recorded)], None)
    Job.objects.filter(pk=noted.pk).update(started_at=Now())  # Its begin was noted; it has not begun all the same.
    asked = [(unbegun.pk, unbegun.attempt), (recorded.pk, recorded.attempt), (noted.pk, noted.attempt)]
    assert each.release([*asked, (unbegun.pk, 7), (10**12, 1)]) == 2
    assert each.release(asked) == 0
    for job in Job.objects.filter(pk__in=[unbegun.pk, noted.pk]):
        assert (job.state, job.attempt, job.budget_from_attempt, job.lease_until) == ("queued", 1, 1, None)
        assert job.started_at is None
        assert job.publish_at == job.due_at  # At its old place, before what came later.
    assert ids(claims(each, limit=1)) == [unbegun.pk]


def test_what_the_first_claim_says_of_a_jobs_age_is_not_changed_by_later_ones(each: Engine) -> None:
    waiting(attempt=2, forgiven=1, budget_from_at=Now() - timedelta(days=3))
    [later] = claims(each)
    assert later.claimed_at - later.budget_from_at > timedelta(days=2)
