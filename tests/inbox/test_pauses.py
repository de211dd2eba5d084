"""Pauses: what is claimed while a queue or a handler is paused, what counts as waiting, what the audit says."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.db.models import F
from django.db.models.functions import Now

from tests.inbox.test_engine import claims, ids, waiting
from tests.support.inbox_rows import make_job
from tests.support.processes import wait_until
from webhooks.inbox import due, pauses, transitions
from webhooks.inbox.claimed_job import Wanted
from webhooks.inbox.engine import Engine
from webhooks.models import Change, Job, Pause
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

LEASES = {"shop.count": 30.0, "shop.bill": 30.0}


def pause(**values: Any) -> Pause:
    made = pauses.pause(reason="GitHub outage", who="ana", **values)
    assert made is not None
    return made


def test_no_job_of_a_paused_queue_is_claimed_and_all_are_after_it_resumes(each: Engine) -> None:
    held, other = waiting(9), waiting(5, queue="other")
    pause(queue="default")
    assert ids(claims(each)) == []
    assert ids(claims(each, queue=None, job_id=held.pk)) == []
    assert ids(claims(each, queue="other")) == [other.pk]
    assert pauses.resume(queue="default", who="ana")
    assert ids(claims(each)) == [held.pk]


def test_jobs_of_a_paused_handler_are_passed_by_wherever_they_stand(each: Engine) -> None:
    held = [waiting(age) for age in (9, 7, 5)]
    bills = [waiting(age, handler="shop.bill") for age in (8, 4)]
    pause(handler="shop.count")
    assert ids(claims(each, leases=LEASES, limit=2)) == ids(bills)
    assert ids(claims(each, queue=None, job_id=held[0].pk)) == []
    assert pauses.resume(handler="shop.count", who="ana")
    assert ids(claims(each, leases=LEASES)) == ids(held)


def test_a_pause_of_another_queue_or_handler_or_one_that_has_ended_holds_nothing(each: Engine) -> None:
    job = waiting()
    pause(queue="other")
    pause(handler="shop.bill")
    pause(queue="default")
    pause(handler="shop.count")
    pauses.resume(queue="default", who="ana")
    pauses.resume(handler="shop.count", who="ana")
    assert ids(claims(each, leases=LEASES)) == [job.pk]


def test_the_end_of_a_run_is_recorded_while_its_queue_is_paused_and_its_retry_waits(each: Engine) -> None:
    waiting()
    [job] = claims(each)
    pause(queue="default")
    change = {
        "job": job.pk, "attempt": 1, "state": "retrying", "is_final": False, "delay": -1.0, "forgives": 0, "loses": 0,
        "result": "", "error": "no", "fingerprint": "", "outcome": "failed", "message": "no", "traceback": "",
        "worker": "w", "pid": 7, "began": 1.0, "ended": 0.0,
    }  # fmt: skip
    recorded, claimed = each.exchange([change], Wanted(worker="w", leases=LEASES, limit=5, queue="default"))
    assert (set(recorded), list(claimed)) == ({(job.pk, 1)}, [])
    assert ids(claims(each)) == []
    pauses.resume(queue="default", who="ana")
    assert ids(claims(each)) == [job.pk]


def test_a_claim_that_is_given_back_waits_with_the_others() -> None:
    job = waiting()
    claimed = transitions.claim(job.pk, worker="w", lease_seconds=30, handler="shop.count")
    assert claimed is not None
    pause(handler="shop.count")
    assert transitions.release([claimed]) == 1
    assert transitions.claim(job.pk, worker="w", lease_seconds=30, handler="shop.count") is None
    job.refresh_from_db()
    assert (job.state, job.publish_at) == (JobState.QUEUED, job.due_at)


class Claimer(threading.Thread):
    """A worker that claims one job after another; `empty` counts the times when it was given none."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self.over, self.claimed, self.empty = over, 0, 0
        self.start()

    def run(self) -> None:
        wanted = Wanted(worker="w", leases=LEASES, limit=1, queue="default")
        while not self.over.is_set():
            _, claimed = transitions.exchange([], wanted)
            self.claimed += len(claimed)
            self.empty += not claimed
        connection.close()

    def has_been_given_none(self, times: int) -> bool:
        return self.empty >= times


@pytest.mark.django_db(transaction=True)
def test_once_a_pause_is_committed_claims_that_race_with_it_take_no_more_jobs() -> None:
    for _ in range(100):
        waiting()
    over = threading.Event()
    claimers = [Claimer(over) for _ in range(2)]
    try:
        wait_until(lambda: any(one.claimed for one in claimers), what="a claim")
        pause(queue="default")
        running = Job.objects.filter(state=JobState.RUNNING).count()
        late = [waiting() for _ in range(3)]
        wait_until(lambda: all(one.has_been_given_none(3) for one in claimers), what="claims of nothing")
    finally:
        over.set()
        for one in claimers:
            one.join()
    assert running <= Job.objects.filter(state=JobState.RUNNING).count() <= running + len(claimers)
    assert Job.objects.filter(pk__in=ids(late), state=JobState.QUEUED).count() == len(late)


def test_of_two_who_pause_the_same_one_does() -> None:
    assert pauses.pause(queue="default", reason="first", who="ana") is not None
    assert pauses.pause(queue="default", reason="second", who="bo") is None
    assert [(each.reason, each.paused_by) for each in pauses.current()] == [("first", "ana")]
    assert Change.objects.count() == 1


def test_a_pause_of_nothing_or_of_both_is_refused() -> None:
    for names in ({}, {"queue": "default", "handler": "shop.count"}):
        with pytest.raises(IntegrityError):
            pauses.pause(reason="r", who="ana", **names)


def test_pauses_and_their_ends_stand_in_the_audit_and_can_follow_each_other() -> None:
    pause(handler="shop.count")
    assert pauses.resume(handler="shop.count", who="bo", reason="over")
    assert not pauses.resume(handler="shop.count", who="bo")
    pause(handler="shop.count")
    told = Change.objects.order_by("id").values_list("action", "who", "scope", "reason", "count")
    assert list(told) == [
        ("pause", "ana", "handler shop.count", "GitHub outage", 0),
        ("resume", "bo", "handler shop.count", "over", 0),
        ("pause", "ana", "handler shop.count", "GitHub outage", 0),
    ]
    assert pauses.paused() == pauses.Paused(handlers=frozenset({"shop.count"}))
    ended = Pause.objects.get(resumed_at__isnull=False)
    assert ended.resumed_by == "bo"


def until_due(queues: list[str]) -> float | None:
    return due.seconds_until_due(queues, held=pauses.paused())


@pytest.mark.parametrize("ask", [until_due, due.claimable_seconds])
def test_a_queue_whose_jobs_are_all_paused_has_none_that_is_due(ask: Callable[[list[str]], float | None]) -> None:
    waiting(100)
    assert ask(["default"]) is not None
    pause(handler="shop.count")
    assert ask(["default"]) is None
    waiting(50, handler="shop.bill")
    assert ask(["default"]) is not None
    pause(queue="default")
    assert ask(["default"]) is None
    assert ask(["default", "other"]) is None


def test_a_job_that_was_paused_for_hours_is_not_claimable_for_hours_once_it_resumes() -> None:
    waiting(7200)
    assert due.claimable_seconds(["default"]) == pytest.approx(7200, abs=60)
    pause(queue="default")
    pauses.resume(queue="default", who="ana")
    assert (due.claimable_seconds(["default"]) or 0.0) < 60
    Pause.objects.update(resumed_at=F("resumed_at") - timedelta(seconds=600))
    assert due.claimable_seconds(["default"]) == pytest.approx(600, abs=60)
    make_job(JobState.QUEUED, queue="later", due_at=Now() + timedelta(seconds=900))
    assert due.claimable_seconds(["later"]) == pytest.approx(-900, abs=60)


def test_what_waits_counts_for_an_autoscaler_without_what_is_paused() -> None:
    waiting(300)
    waiting(200, handler="shop.bill")
    waiting(100, handler="shop.bill")
    pause(handler="shop.bill")
    told = due.waiting_in("default")
    assert (told.jobs, told.paused_jobs) == (1, 2)
    assert told.oldest_seconds == pytest.approx(300, abs=60)
    pause(queue="default")
    assert due.waiting_in("default") == due.Waiting(paused_jobs=3)
    pauses.resume(queue="default", who="ana")
    pauses.resume(handler="shop.bill", who="ana")
    assert (due.waiting_in("default").jobs, due.waiting_in("default").paused_jobs) == (3, 0)
