"""The state changes: who wins, what is counted, and that a run which lost its job cannot record."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from tests.support.inbox_rows import make_job, new_delivery, state_of
from tests.support.processes import wait_until
from webhooks.inbox import due, store, transitions
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.outcomes import LOST_ALLOWANCE, MOST_FORGIVEN, Outcome, spent
from webhooks.inbox.pauses import Paused
from webhooks.inbox.transitions import Ended
from webhooks.models import Attempt, Delivery, Job, Payload
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.subscription import Backoff

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

AT_ONCE = Backoff(first=0, longest=0)
SUCCEEDED = Outcome(kind=AttemptOutcome.SUCCEEDED, message="done")
FAILED = Outcome(kind=AttemptOutcome.FAILED, message="ValueError: no", traceback="Traceback …", fingerprint="f" * 16)
HANDED_BACK = Outcome(kind=AttemptOutcome.HANDED_BACK)


def new_job(**values: Any) -> Job:
    """Store a job that may be claimed."""
    usual: dict[str, Any] = {"handler": "app.handle", "queue": "q", "max_attempts": 3, "publish_at": Now()}
    return make_job(values.pop("state", JobState.QUEUED), **usual | values)


def claim(job: Job) -> ClaimedJob | None:
    return transitions.claim(job.pk, worker="worker@test", lease_seconds=60, handler=job.handler)


def claimed(job: Job) -> ClaimedJob:
    run = claim(job)
    assert run is not None
    return run


def record(run: ClaimedJob, outcome: Outcome, *, age_seconds: float = 0.0) -> JobState | None:
    return transitions.record(ended(run, outcome, age_seconds=age_seconds))


def ended(run: ClaimedJob, outcome: Outcome, *, age_seconds: float = 0.0) -> Ended:
    return Ended(
        job=run, outcome=outcome, backoff=AT_ONCE, age_seconds=age_seconds, worker="worker@test", pid=7,
        began_seconds_ago=3.0, ended_seconds_ago=1.0,
    )  # fmt: skip


def claim_due(*, limit: int = 10, queue: str = "q") -> list[ClaimedJob]:
    _, jobs = transitions.exchange(
        [], Wanted(worker="worker@test", leases={"app.handle": 60}, limit=limit, queue=queue)
    )
    return jobs


def lose(job: Job) -> None:
    """Let the lease of a job's run end, and the relay see it."""
    every(job).update(lease_until=Now() - timedelta(seconds=1))
    assert transitions.expire_leases() == 1


def is_due(job: Job) -> None:
    every(job).update(due_at=Now(), publish_at=Now())


def every(job: Job) -> Any:
    return Job.objects.filter(pk=job.pk)


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """Run `work` in that many threads at once, each with a connection of its own; return what they returned."""
    results: list[Any] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        try:
            barrier.wait()
            results.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_claim_counts_the_attempt_sets_the_lease_and_clears_publish_at() -> None:
    run = claimed(new_job(worker="another", started_at=Now()))
    job = Job.objects.get(pk=run.pk)
    assert (job.state, job.attempt, job.publish_at, job.worker) == (JobState.RUNNING, 1, None, "worker@test")
    assert job.lease_until is not None
    assert timedelta(seconds=58) < job.lease_until - run.claimed_at <= timedelta(seconds=60)
    assert (job.claimed_at, job.started_at) == (run.claimed_at, None)
    assert not Attempt.objects.exists()  # Its row is written once, when it has ended.


def test_of_many_workers_with_the_same_message_one_claims() -> None:
    job = new_job()
    claims = in_threads(6, lambda: claim(job))
    assert sum(one is not None for one in claims) == 1
    assert Job.objects.get(pk=job.pk).attempt == 1


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED])
def test_a_job_that_is_taken_or_final_cannot_be_claimed(state: JobState) -> None:
    assert claim(new_job(state=state, publish_at=None)) is None


def test_a_retrying_job_cannot_be_claimed_before_it_is_due() -> None:
    soon = Now() + timedelta(seconds=30)
    job = new_job(state=JobState.RETRYING, due_at=soon, publish_at=soon)
    assert claim(job) is None
    is_due(job)
    assert claimed(job).attempt == 1


def test_a_job_that_is_gone_cannot_be_claimed() -> None:
    assert transitions.claim(10**12, worker="w", lease_seconds=1, handler="app.handle") is None


def test_success_is_recorded_with_the_result() -> None:
    run = claimed(new_job())
    assert record(run, SUCCEEDED) is JobState.SUCCEEDED
    job = Job.objects.get(pk=run.pk)
    assert (job.state, job.result, job.error, job.lease_until) == (JobState.SUCCEEDED, "done", "", None)
    assert job.finished_at is not None
    attempt = Attempt.objects.get(job=job)
    assert (attempt.outcome, attempt.message, attempt.worker, attempt.pid) == ("succeeded", "done", "worker@test", 7)
    assert attempt.finished_at is not None
    assert attempt.finished_at - attempt.started_at == timedelta(seconds=2)


def test_a_failure_retries_and_the_last_one_is_dead_with_the_reason_on_view() -> None:
    job = new_job(max_attempts=2)
    assert record(claimed(job), FAILED) is JobState.RETRYING
    job.refresh_from_db()
    assert job.publish_at == job.due_at
    assert record(claimed(job), FAILED) is JobState.DEAD
    job.refresh_from_db()
    assert (job.attempt, job.error, job.fingerprint) == (2, "ValueError: no All 2 attempts are spent.", "f" * 16)
    assert job.publish_at is None
    assert Attempt.objects.get(job=job, number=2).traceback == "Traceback …"


def test_a_run_whose_lease_was_taken_over_cannot_record() -> None:
    job = new_job()
    first = claimed(job)
    lose(job)
    is_due(job)
    second = claimed(job)
    assert record(first, SUCCEEDED) is None
    assert record(second, FAILED) is JobState.RETRYING
    outcomes = Attempt.objects.filter(job=job).order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == ["lost", "failed"]


def test_an_outcome_is_recorded_once_however_often_it_is_sent() -> None:
    run = claimed(new_job())
    assert sorted(in_threads(4, lambda: record(run, SUCCEEDED) is not None)) == [False, False, False, True]


def test_a_lease_that_still_runs_is_left_alone() -> None:
    claimed(new_job())
    assert transitions.expire_leases() == 0


def test_of_two_relays_one_takes_a_lost_run_back() -> None:
    job = new_job()
    claimed(job)
    every(job).update(lease_until=Now() - timedelta(seconds=1))
    assert sorted(in_threads(2, transitions.expire_leases)) in ([0, 1], [1, 1])
    job.refresh_from_db()
    assert (job.state, job.lost) == (JobState.RETRYING, 1)


def test_the_line_of_a_lost_run_names_its_delivery_and_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    job = new_job()
    claimed(job)
    lose(job)
    (record,) = [record for record in caplog.records if record.message == "run lost"]
    delivery = job.delivery
    assert vars(record).items() >= {
        "delivery": delivery.pk, "guid": str(delivery.guid), "job": job.pk, "handler": "app.handle", "attempt": 1,
        "trace_id": delivery.guid.hex, "state": JobState.RETRYING,
    }.items()  # fmt: skip


def test_lost_runs_cost_no_attempt_and_have_a_bound_of_their_own() -> None:
    job = new_job(max_attempts=2)
    runs = 0
    while Job.objects.get(pk=job.pk).state != JobState.DEAD:
        is_due(job)
        run = claimed(job)
        assert transitions.begin(run)
        runs += 1
        lose(job)
        assert not transitions.begin(run)
    job.refresh_from_db()
    assert runs == job.lost == 2 + LOST_ALLOWANCE
    assert job.error.endswith(f"{runs} runs were lost with their workers.")


def test_a_hand_back_is_forgiven_ten_times_and_then_costs_attempts() -> None:
    job = new_job(max_attempts=1)
    for _ in range(MOST_FORGIVEN):
        assert record(claimed(job), HANDED_BACK) is JobState.RETRYING
    assert record(claimed(job), HANDED_BACK) is JobState.DEAD
    job.refresh_from_db()
    assert (job.attempt, job.forgiven) == (MOST_FORGIVEN + 1, MOST_FORGIVEN)


def test_a_hand_back_past_the_jobs_total_age_costs_an_attempt() -> None:
    job = new_job(max_attempts=1)
    assert record(claimed(job), HANDED_BACK, age_seconds=25 * 3600) is JobState.DEAD


DAYS_AGO = Now() - timedelta(days=3)


def age_seconds(run: ClaimedJob) -> float:
    """Return a run's age as the worker counts it."""
    return (run.claimed_at - run.budget_from_at).total_seconds()


@pytest.mark.parametrize("backlog", ["since it was stored", "since an operator ran it again"])
def test_the_age_of_a_budget_begins_with_its_first_claim_however_long_the_job_has_waited(backlog: str) -> None:
    job = new_job(max_attempts=1, attempt=4, budget_from_attempt=4, created_at=DAYS_AGO, budget_from_at=DAYS_AGO)
    if backlog != "since it was stored":
        every(job).update(state=JobState.DEAD, attempt=5, publish_at=None)
        transitions.run_again(every(job))
        every(job).update(budget_from_at=DAYS_AGO)
    run = claimed(job)
    assert age_seconds(run) < 60
    assert record(run, HANDED_BACK, age_seconds=age_seconds(run)) is JobState.RETRYING
    every(job).update(budget_from_at=DAYS_AGO)
    is_due(job)
    later = claimed(job)
    assert age_seconds(later) > timedelta(days=2).total_seconds()
    assert record(later, HANDED_BACK, age_seconds=age_seconds(later)) is JobState.DEAD


@pytest.mark.parametrize("state", [JobState.DEAD, JobState.SUCCEEDED, JobState.SKIPPED])
def test_run_again_queues_a_final_job_with_a_new_budget(state: JobState) -> None:
    job = new_job(max_attempts=2, state=state, attempt=7, forgiven=1, lost=4, finished_at=Now(), publish_at=None)
    assert transitions.run_again(every(job)) == 1
    job.refresh_from_db()
    assert (job.state, job.attempt, job.budget_from_attempt, job.lost) == (JobState.QUEUED, 7, 7, 0)
    assert (job.forgiven, job.finished_at) == (0, None)
    assert job.publish_at is not None
    assert record(claimed(job), FAILED) is JobState.RETRYING
    assert record(claimed(job), FAILED) is JobState.DEAD


def test_run_again_leaves_a_job_whose_payload_has_been_pruned_and_its_result() -> None:
    job = new_job(state=JobState.SUCCEEDED, result="labelled", publish_at=None)
    Payload.objects.all().delete()
    assert transitions.run_again(every(job)) == 0
    job.refresh_from_db()
    assert (job.state, job.result) == (JobState.SUCCEEDED, "labelled")


def test_a_redelivery_brings_a_pruned_payload_back_and_so_its_dead_job_runs_again() -> None:
    job = new_job(state=JobState.DEAD, publish_at=None)
    Payload.objects.all().delete()
    told = Delivery.objects.get(pk=job.delivery_id)
    again = new_delivery(guid=told.guid, secret_fingerprint="1" * 12, body=b'{"zen": 1}')
    assert store.store(again).is_duplicate
    told.refresh_from_db()
    assert (told.repeats, told.body_bytes, told.secret_fingerprint) == (1, 10, "1" * 12)
    assert told.headers == {"Content-Type": "application/json"}
    assert bytes(Payload.objects.get(pk=told.pk).body) == b'{"zen": 1}'
    assert Job.objects.get(pk=job.pk).state == JobState.QUEUED


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.RETRYING])
def test_run_again_leaves_a_job_that_is_not_final(state: JobState) -> None:
    assert transitions.run_again(every(new_job(state=state))) == 0


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RETRYING, JobState.DEAD])
def test_give_up_skips_a_job_that_waits_or_is_dead(state: JobState) -> None:
    job = new_job(state=state, publish_at=None if state == JobState.DEAD else Now())
    assert transitions.give_up(every(job)) == 1
    job.refresh_from_db()
    assert (job.state, job.publish_at) == (JobState.SKIPPED, None)
    assert claim(job) is None


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED])
def test_give_up_leaves_a_job_that_runs_or_is_done(state: JobState) -> None:
    assert transitions.give_up(every(new_job(state=state))) == 0


def test_retry_now_makes_a_retrying_job_due_and_leaves_the_place_of_one_that_is() -> None:
    later = Now() + timedelta(hours=1)
    put_off = new_job(state=JobState.RETRYING, due_at=later, publish_at=later, attempt=1)
    due_since = Now() - timedelta(seconds=90)
    is_due_already = new_job(state=JobState.RETRYING, due_at=due_since, publish_at=due_since)
    before = every(is_due_already).values("due_at", "publish_at").get()
    assert claim(put_off) is None
    assert transitions.retry_now(Job.objects.all()) == 2
    assert every(is_due_already).values("due_at", "publish_at").get() == before
    job = Job.objects.get(pk=put_off.pk)
    assert (job.state, job.attempt, job.due_at) == (JobState.RETRYING, 1, job.publish_at)
    assert claimed(put_off).attempt == 2


@pytest.mark.parametrize("state", [state for state in JobState if state != JobState.RETRYING])
def test_retry_now_leaves_a_job_that_does_not_retry(state: JobState) -> None:
    job = new_job(state=state, publish_at=None)
    assert transitions.retry_now(every(job)) == 0
    assert Job.objects.get(pk=job.pk).publish_at is None


def test_a_job_without_a_handler_is_buried_with_the_reason() -> None:
    waiting, running = new_job(), new_job(state=JobState.RUNNING)
    assert transitions.end_without_run([waiting.pk, running.pk], reason="No installed app has it.") == 1
    waiting.refresh_from_db()
    assert (waiting.state, waiting.error, waiting.publish_at) == (JobState.DEAD, "No installed app has it.", None)


def test_two_workers_never_claim_the_same_job() -> None:
    jobs = {new_job(publish_at=Now() - timedelta(seconds=1)).pk for _ in range(40)}
    claims = [run.pk for runs in in_threads(4, claim_due) for run in runs]
    assert len(claims) == len(set(claims))
    claims += [run.pk for run in claim_due(limit=40)]  # What another's transaction held is passed by.
    assert sorted(claims) == sorted(jobs)


def test_due_jobs_come_oldest_first_and_only_of_the_queue() -> None:
    late, early = (new_job(publish_at=Now() - timedelta(seconds=seconds)) for seconds in (1, 9))
    new_job(publish_at=Now() + timedelta(seconds=60))
    every(new_job(publish_at=Now())).update(queue="other")
    assert [job.pk for job in due.due_jobs("q", handlers=["app.handle"], limit=10)] == [early.pk, late.pk]
    assert due.due_jobs("q", handlers=["app.other"], limit=10) == []
    assert due.waiting_queues() == ["other", "q"]
    assert [run.pk for run in claim_due()] == [early.pk, late.pk]


def test_looking_for_due_jobs_changes_nothing() -> None:
    job = new_job(publish_at=Now() - timedelta(seconds=1))
    before = every(job).values().get()
    for _ in range(2):
        assert [one.pk for one in due.due_jobs("q", handlers=["app.handle"], limit=10)] == [job.pk]
    assert every(job).values().get() == before


def test_a_claim_that_has_not_begun_is_given_back_without_costing_anything_and_only_once() -> None:
    job = new_job(max_attempts=1)
    first = claimed(job)
    assert transitions.release([first]) == 1
    assert transitions.release([first]) == 0
    job.refresh_from_db()
    assert (job.state, job.lease_until, job.publish_at) == (JobState.QUEUED, None, job.due_at)
    assert spent(job) == 0
    second = claimed(job)
    assert (second.attempt, spent(second)) == (2, 1)
    assert record(first, SUCCEEDED) is None
    assert transitions.release([first]) == 0
    assert record(second, SUCCEEDED) is JobState.SUCCEEDED
    assert list(Attempt.objects.values_list("number", "outcome")) == [(2, "succeeded")]


def test_a_run_that_may_have_begun_is_not_given_back_by_a_worker_that_does_not_know_of_it() -> None:
    job = new_job(lost=1, attempt=1)
    run = claimed(job)
    assert transitions.begin(run)
    assert transitions.release_unknown("worker@test", set()) == 0
    assert record(run, SUCCEEDED) is JobState.SUCCEEDED
    assert not transitions.begin(run)


def test_claims_given_back_between_its_runs_change_neither_a_jobs_attempts_nor_its_age() -> None:
    job = new_job(max_attempts=2)
    for _ in range(20):
        transitions.release([claimed(job)])
    every(job).update(budget_from_at=DAYS_AGO)
    first = claimed(job)
    assert age_seconds(first) < 60
    assert record(first, FAILED) is JobState.RETRYING
    every(job).update(budget_from_at=DAYS_AGO)
    for _ in range(20):
        is_due(job)
        transitions.release([claimed(job)])
    is_due(job)
    last = claimed(job)
    assert age_seconds(last) > timedelta(days=2).total_seconds()
    assert record(last, HANDED_BACK, age_seconds=age_seconds(last)) is JobState.DEAD
    assert list(Attempt.objects.order_by("number").values_list("number", "outcome")) == [
        (21, "failed"),
        (42, "handed_back"),
    ]


def test_hand_backs_and_given_back_claims_in_turn_end_at_the_tenth_hand_back() -> None:
    job = new_job(max_attempts=1)
    for _ in range(MOST_FORGIVEN):
        transitions.release([claimed(job)])
        assert record(claimed(job), HANDED_BACK) is JobState.RETRYING
    assert record(claimed(job), HANDED_BACK) is JobState.DEAD


def test_a_job_that_was_lost_before_is_not_lost_again_by_a_claim_that_had_not_begun() -> None:
    job = new_job(max_attempts=1)
    claimed(job)
    lose(job)  # It may have run: the first loss counts.
    for _ in range(LOST_ALLOWANCE + 2):
        is_due(job)
        claimed(job)
        lose(job)
    job.refresh_from_db()
    assert (job.state, job.lost, spent(job)) == (JobState.QUEUED, 1, 0)
    assert list(Attempt.objects.values_list("number", "outcome", "worker")) == [(1, "lost", "worker@test")]


def test_what_a_worker_has_claimed_and_does_not_know_of_is_given_back_and_nothing_else() -> None:
    known, unknown, begun, others = (new_job() for _ in range(4))
    run = claimed(known)
    claimed(unknown)
    assert transitions.begin(claimed(begun))
    transitions.claim(others.pk, worker="another@test", lease_seconds=60, handler="app.handle")
    assert transitions.release_unknown("worker@test", {(run.pk, run.attempt)}) == 1
    assert {job.pk: state_of(job) for job in (known, unknown, begun, others)} == {
        known.pk: "running",
        unknown.pk: "queued",
        begun.pk: "running",
        others.pk: "running",
    }


def test_a_run_that_is_given_twice_in_one_exchange_is_recorded_once() -> None:
    run, other = claimed(new_job()), claimed(new_job())
    states, _ = transitions.exchange([ended(run, SUCCEEDED), ended(other, FAILED), ended(run, SUCCEEDED)], None)
    assert states == [JobState.SUCCEEDED, JobState.RETRYING, JobState.SUCCEEDED]
    assert Attempt.objects.count() == 2


NOTHING = Paused()


def test_how_long_until_the_next_job_is_due() -> None:
    assert due.seconds_until_due(["q"], held=NOTHING) is None
    job = new_job(publish_at=Now() + timedelta(seconds=30))
    assert 28 < (due.seconds_until_due(["q", "none"], held=NOTHING) or 0) <= 30
    every(job).update(publish_at=F("publish_at") - timedelta(seconds=60))
    assert (due.seconds_until_due(["q"], held=NOTHING) or 0) < 0


@pytest.mark.parametrize("change", [transitions.run_again, transitions.give_up, transitions.retry_now])
def test_a_selection_locks_its_jobs_in_the_order_of_their_ids(change: Callable[[Any], int]) -> None:
    """So that two operators with overlapping selections wait for each other, and never in a circle."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    state = JobState.RETRYING if change is transitions.retry_now else JobState.DEAD
    first, *others = [new_job(state=state, publish_at=None) for _ in range(3)]
    every(first).update(error="moves its row behind the others'")
    changed: list[int] = []

    def choose_all() -> None:
        changed.append(change(Job.objects.all()))
        connection.close()

    operator = threading.Thread(target=choose_all)
    with transaction.atomic():
        every(first).select_for_update().get()
        operator.start()
        wait_until(is_anybody_waiting, what="the operator waits for the first job")
        # Nothing behind it is locked yet: this would fail.
        behind = Job.objects.filter(pk__in=[job.pk for job in others]).select_for_update(nowait=True)
        assert {job.pk for job in behind} == {job.pk for job in others}
    operator.join(30)
    assert changed == [3]


@pytest.mark.parametrize("change", ["record", "release"])
def test_a_worker_locks_its_jobs_in_that_order_too(change: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    first, second = claimed(new_job()), claimed(new_job())
    results: list[Any] = []

    def work() -> None:
        both = [second, first]
        results.append(
            transitions.release(both)
            if change == "release"
            else transitions.exchange([ended(run, SUCCEEDED) for run in both], None)[0]
        )
        connection.close()

    assert_waits_for_the_first(work, first, second)
    assert results == [2 if change == "release" else [JobState.SUCCEEDED] * 2]


def test_what_is_given_back_is_locked_in_that_order_by_any_plan() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    first, second = claimed(new_job()), claimed(new_job())
    Job.objects.filter(pk=first.pk).update(worker="w")  # From now on its row stands behind the other one.
    results: list[int] = []

    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET enable_nestloop = off; SET enable_indexscan = off; SET enable_bitmapscan = off")
        results.append(transitions.release([first, second]))
        connection.close()

    assert_waits_for_the_first(work, first, second)
    assert results == [2]


def assert_waits_for_the_first(work: Callable[[], None], first: ClaimedJob, second: ClaimedJob) -> None:
    """While the first of two jobs is locked, the work waits for it and does not hold the second."""
    worker = threading.Thread(target=work)
    with transaction.atomic():
        Job.objects.select_for_update().get(pk=first.pk)
        worker.start()
        wait_until(is_anybody_waiting, what="the worker waits for the first job")
        assert Job.objects.select_for_update(nowait=True).get(pk=second.pk)
    worker.join(30)


def is_anybody_waiting() -> bool:
    with connection.cursor() as cursor:
        # Within a transaction, pg_stat_activity stays as it was first read: without who has connected since.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE datname = current_database() AND NOT granted"
        )
        return bool(cursor.fetchone()[0])
