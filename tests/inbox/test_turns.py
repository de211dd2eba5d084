"""`one_at_a_time_by` and `latest_only_by`: which jobs of a key may be claimed, and which a newer one ends."""

import random
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from tests.fuzz.job_steps import let_pass, side_by_side
from tests.publishing.test_relay import SUBSCRIPTION
from tests.support.inbox_rows import make_job, new_delivery
from webhooks.inbox import due, operations, store, transitions, turns
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.late_turns import LateTurns
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import Ended
from webhooks.inbox.waiting_facts import explain
from webhooks.models import Job
from webhooks.replay_queues import replay_queue
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.keys import JobKeys
from webhooks.subscriptions.subscription import Backoff

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

COUNT = replace(SUBSCRIPTION, name="shop.count", queue="default", one_at_a_time_by="pull_request")
WANTED = Wanted(worker="w", leases={"shop.count": 30.0}, limit=100, queue="default")


def arrives(key: str | None = "k", **keys: Any) -> Job:
    """Store a delivery with one job of this order key."""
    given = JobKeys(order=key, **keys)
    stored = store.store(new_delivery(subscriptions=[COUNT], keys={COUNT.name: given}))
    return Job.objects.get(delivery_id=stored.delivery_id)


def claims(**values: Any) -> list[ClaimedJob]:
    return transitions.exchange([], replace(WANTED, **values))[1]


def ids(jobs: Iterable[Job | ClaimedJob]) -> list[int]:
    return [job.pk for job in jobs]


def ended(job: ClaimedJob | Job, kind: str = "succeeded", *, after_seconds: float = 0.0) -> Ended:
    outcome = Outcome(kind=AttemptOutcome(kind), message="why", after_seconds=after_seconds)
    return Ended(job=job, outcome=outcome, backoff=Backoff(first=0), age_seconds=0.0, worker="w")


def ends(job: ClaimedJob | Job, kind: str = "succeeded", *, after_seconds: float = 0.0) -> JobState | None:
    return transitions.record(ended(job, kind, after_seconds=after_seconds))


def states() -> list[str]:
    return list(Job.objects.order_by("pk").values_list("state", flat=True))


def may_be_claimed() -> list[int]:
    return list(Job.objects.filter(due.CLAIMABLE).order_by("pk").values_list("pk", flat=True))


def test_the_jobs_of_a_key_run_one_after_another_in_the_order_in_which_they_came() -> None:
    jobs = [arrives() for _ in range(4)]
    other, free = arrives("other"), arrives(None)
    assert set(ids(claims())) == {jobs[0].pk, other.pk, free.pk}
    assert claims() == []
    for place, job in enumerate(jobs):
        running = Job.objects.get(pk=job.pk)
        assert running.state == JobState.RUNNING
        ends(running)
        assert ids(claims()) == ids(jobs[place + 1 : place + 2])


def test_deliveries_that_are_committed_together_keep_their_order_and_one_of_them_is_told_of() -> None:
    together = [new_delivery(subscriptions=[COUNT], keys={COUNT.name: JobKeys(order="k")}) for _ in range(8)]
    store.store(new_delivery())  # So that there is a source.
    stored = store.store_together(together)
    told = [one.to_publish for one in stored if one]
    assert [len(jobs) for jobs in told] == [1, *[0] * 7]
    of_deliveries = [Job.objects.get(delivery_id=one.delivery_id).pk for one in stored if one]
    assert of_deliveries == sorted(of_deliveries)
    assert may_be_claimed() == of_deliveries[:1]


@pytest.mark.parametrize("kind", ["failed", "retry_later"])
def test_a_job_that_is_put_off_lets_the_next_one_pass_and_comes_back_in_its_time(kind: str) -> None:
    first, second, third = (arrives() for _ in range(3))
    [run] = claims()
    assert transitions.record(replace(ended(run, kind, after_seconds=300), backoff=Backoff(first=1e9, longest=1e9)))
    assert may_be_claimed() == [second.pk]
    [run] = claims()
    let_pass(40 * 24 * 3600.0)  # The first is due, and has waited longest.
    ends(run)
    assert may_be_claimed() == [first.pk]
    [run] = claims()
    ends(run)
    assert ids(claims()) == [third.pk]


def test_a_job_that_is_put_off_alone_keeps_the_turn_until_another_comes() -> None:
    first = arrives()
    [run] = claims()
    ends(run, "retry_later", after_seconds=300)
    first.refresh_from_db()
    assert (first.state, first.publish_at) == (JobState.RETRYING, first.due_at)
    second = arrives()
    assert may_be_claimed() == [second.pk]
    assert not Job.objects.filter(pk=first.pk, publish_at__isnull=False).exists()
    [run] = claims()
    ends(run)
    first.refresh_from_db()
    assert first.publish_at == first.due_at


def test_a_job_that_fails_without_a_wait_goes_before_those_that_came_later() -> None:
    first, _ = arrives(), arrives()
    [run] = claims()
    ends(run, "failed")
    assert ids(claims()) == [first.pk]


def test_a_job_that_died_or_was_given_up_holds_up_nobody() -> None:
    _, second, third = (arrives() for _ in range(3))
    [run] = claims()
    ends(run, "gave_up")
    assert may_be_claimed() == [second.pk]
    assert transitions.give_up(Job.objects.filter(pk=second.pk)) == 1
    assert may_be_claimed() == [third.pk]
    assert states() == ["dead", "skipped", "queued"]


def test_a_job_that_waits_for_its_turn_can_be_given_up() -> None:
    first, second, third = (arrives() for _ in range(3))
    transitions.give_up(Job.objects.filter(pk=second.pk))
    [run] = claims()
    assert run.pk == first.pk
    ends(run)
    assert ids(claims()) == [third.pk]


def test_a_claim_that_is_given_back_keeps_the_turn() -> None:
    first, _ = arrives(), arrives()
    run = claims()
    assert transitions.release(run) == 1
    assert may_be_claimed() == [first.pk]


def test_a_run_that_is_lost_passes_the_turn_on_and_comes_back() -> None:
    first, second = arrives(), arrives()
    claims()
    let_pass(31)
    assert transitions.expire_leases() == 1
    assert may_be_claimed() in ([first.pk], [second.pk])  # The backoff of a lost run may be next to nothing.
    assert states() == ["retrying", "queued"]


def test_a_job_that_is_run_again_waits_for_its_turn() -> None:
    first, second = arrives(), arrives()
    [run] = claims()
    ends(run)
    [run] = claims()
    assert transitions.run_again(Job.objects.filter(pk=first.pk)) == 1
    assert may_be_claimed() == []
    ends(run)
    assert may_be_claimed() == [first.pk]
    assert second.pk == run.pk


def test_a_replayed_job_waits_behind_the_live_ones_of_its_key() -> None:
    first, second = arrives(), arrives()
    for _ in range(2):
        ends(claims()[0])
    transitions.replay(Job.objects.all())
    live = arrives()
    assert may_be_claimed() == [live.pk]
    ends(claims()[0])
    [run] = claims(queue=replay_queue("default"))
    assert run.pk == first.pk
    ends(run)
    assert ids(claims(queue=replay_queue("default"))) == [second.pk]


def test_a_live_job_that_becomes_due_goes_before_a_replayed_one_that_waits() -> None:
    arrives()
    ends(claims()[0])
    live = arrives()
    [run] = claims()
    ends(run, "retry_later", after_seconds=300)
    transitions.replay(Job.objects.filter(state="succeeded"))
    assert not Job.objects.filter(pk=live.pk, publish_at__isnull=False).exists()
    let_pass(301)
    assert LateTurns().step() == 1
    assert may_be_claimed() == [live.pk]


def test_what_is_taken_back_of_a_replay_passes_the_turn_on() -> None:
    first, second = arrives(), arrives()
    for _ in range(2):
        ends(claims()[0])
    transitions.replay(Job.objects.all())
    transitions.take_back(Job.objects.filter(pk=first.pk), state=JobState.SUCCEEDED)
    assert may_be_claimed() == [second.pk]


def test_an_operator_retries_a_job_now_whose_turn_another_has() -> None:
    first, second = arrives(), arrives()
    [run] = claims()
    ends(run, "retry_later", after_seconds=300)
    first.refresh_from_db()
    assert operations.RETRY_NOW in operations.allowed(first)
    [run] = claims()
    assert transitions.retry_now(Job.objects.filter(pk=first.pk)) == 1
    assert may_be_claimed() == []
    ends(run)
    assert may_be_claimed() == [first.pk]
    assert run.pk == second.pk


def test_the_jobs_of_a_handler_that_is_gone_end_with_those_that_wait_for_their_turns() -> None:
    first, *_ = (arrives() for _ in range(3))
    assert transitions.end_without_run([first.pk], reason="gone") == 3
    assert set(states()) == {"dead"}


def test_the_jobs_that_wait_for_a_turn_move_with_the_one_that_has_it() -> None:
    first, *_ = (arrives() for _ in range(3))
    assert due.move([first.pk], queue="other") == 3
    assert set(Job.objects.values_list("queue", flat=True)) == {"other"}


def test_the_relay_passes_on_a_turn_that_a_worker_of_the_release_before_did_not() -> None:
    first, second = arrives(), arrives()
    claims()
    Job.objects.filter(pk=first.pk).update(state="succeeded", lease_until=None, finished_at=Now())
    late = LateTurns()
    assert late.step() == 1
    assert may_be_claimed() == [second.pk]
    assert late.step() == 0


def test_no_writer_can_let_two_jobs_of_a_key_be_claimed() -> None:
    _, second = arrives(), arrives()
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=second.pk).update(publish_at=Now())


def test_jobs_that_wait_for_their_turn_are_not_counted_as_due_and_keep_their_place_in_the_queue() -> None:
    first, second = arrives(), arrives()
    let_pass(3600)
    later = arrives(None)
    assert due.waiting_in("default").jobs == 2
    claims(limit=1)
    ends(Job.objects.get(pk=first.pk))
    # It waited an hour, but only a moment of it for a worker.
    assert due.waiting_in("default").oldest_seconds < 1800
    assert (due.claimable_seconds(["default"]) or 0) < 1800
    assert ids(claims(limit=1)) == [second.pk]
    assert ids(claims()) == [later.pk]


def test_the_page_says_whose_turn_it_is() -> None:
    first, second, third = (arrives() for _ in range(3))
    claims()
    told = explain(third)
    assert told is not None
    assert (told.kind, told.job_id) == ("in order", first.pk)
    assert told.sentence == (
        f"It waits for job {first.pk} of the same key, which runs now, and 1 more is before it: one of them runs at a"
        " time."
    )
    told = explain(second)
    assert told is not None
    assert "before it" not in told.sentence


# --- latest_only_by ---------------------------------------------------------------------------------------------------


def newest(**keys: Any) -> Job:
    return arrives(None, latest="k", **keys)


def test_a_newer_job_supersedes_those_that_wait_and_says_so() -> None:
    first, second, third = newest(), newest(), newest()
    assert states() == ["skipped", "skipped", "queued"]
    for job, by in ((first, second), (second, third)):
        job.refresh_from_db()
        assert (job.superseded_by, job.publish_at) == (by.pk, None)
        assert job.error == f"Superseded by job {by.pk}, which a newer delivery brought."
        assert job.finished_at is not None
    assert ids(claims()) == [third.pk]


def test_of_deliveries_that_are_committed_together_the_newest_job_is_left() -> None:
    store.store(new_delivery())
    together = [new_delivery(subscriptions=[COUNT], keys={COUNT.name: JobKeys(latest="k")}) for _ in range(5)]
    store.store_together(together)
    assert sorted(states()) == ["queued", *["skipped"] * 4]
    assert Job.objects.get(state="queued").delivery.guid == together[-1].guid


def test_a_job_that_runs_is_not_superseded_unless_it_has_to_wait_again() -> None:
    newest()
    [run] = claims()
    second = newest()
    assert states() == ["running", "queued"]
    ends(run, "failed")
    assert states() == ["skipped", "queued"]
    assert Job.objects.get(pk=run.pk).superseded_by == second.pk


def test_a_claim_that_is_given_back_is_superseded_by_what_came_meanwhile() -> None:
    newest()
    run = claims()
    newest()
    transitions.release(run)
    assert states() == ["skipped", "queued"]


def test_an_older_job_that_is_run_again_does_not_supersede_a_newer_one_that_waits() -> None:
    first, second = newest(), newest()
    transitions.run_again(Job.objects.filter(pk=first.pk))
    assert states() == ["skipped", "queued"]
    ends(claims()[0])
    assert transitions.run_again(Job.objects.filter(pk=first.pk)) == 1
    first.refresh_from_db()
    assert (first.state, first.superseded_by) == ("queued", None)
    assert second.pk


def test_one_at_a_time_and_only_the_latest_of_those_that_wait() -> None:
    both = [arrives("k", latest="k")]
    run = claims()
    both += [arrives("k", latest="k") for _ in range(3)]
    assert states() == ["running", "skipped", "skipped", "queued"]
    assert claims() == []
    ends(run[0])
    assert ids(claims()) == [both[-1].pk]


# --- Many at once -----------------------------------------------------------------------------------------------------


class Watched:
    """Keys of which the runs are watched, by threads that insert and threads that work."""

    def __init__(self, *, writers: int, latest: bool) -> None:
        self.writers, self.latest = writers, latest
        self.running: Counter[str] = Counter()
        self.ended: dict[str, list[int]] = {}
        self.faults: list[str] = []
        self._guard = threading.Lock()
        self._inserted = 0

    def insert(self, number: int) -> None:
        chance = random.Random(number)
        for _ in range(40):
            key = chance.choice("abc")
            arrives(key, latest=key if self.latest else None)
        with self._guard:
            self._inserted += 1

    def work(self, number: int) -> None:
        chance = random.Random(number)
        while not self.is_over():
            for job in claims(limit=chance.choice([1, 3])):
                with self._guard:
                    self.running[str(job.order_key)] += 1
                    if self.running[str(job.order_key)] > 1:
                        self.faults.append(f"two jobs of {job.order_key} run")
                self.end(job, is_given_back=chance.random() < 0.1)

    def end(self, job: ClaimedJob, *, is_given_back: bool) -> None:
        with self._guard:
            self.running[str(job.order_key)] -= 1
            if not is_given_back:
                self.ended.setdefault(str(job.order_key), []).append(job.pk)
        if is_given_back:
            transitions.release([job])
        else:
            ends(job)

    def is_over(self) -> bool:
        live = Job.objects.filter(finished_at=None)
        return self._inserted == self.writers and not live.exists()


@pytest.mark.parametrize("latest", [False, True], ids=["all of them", "only the latest"])
def test_many_that_insert_claim_and_record_at_once_never_run_two_jobs_of_a_key(latest: bool) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    watched = Watched(writers=3, latest=latest)
    inserts = [partial(watched.insert, number) for number in range(3)]
    side_by_side([*inserts, *(partial(watched.work, number) for number in range(10, 13))])
    assert watched.faults == []
    assert all(found == sorted(found) for found in watched.ended.values())
    assert Job.objects.count() == 120
    assert latest or sum(map(len, watched.ended.values())) == 120


def test_what_has_no_key_takes_no_lock_and_no_further_statement(django_assert_num_queries: Any) -> None:
    make_job(JobState.QUEUED, due_at=Now())
    [run] = claims()
    with django_assert_num_queries(0), turns.held(turns.Keys.of([run])) as given:
        assert not connection.in_atomic_block
    assert given == set()
