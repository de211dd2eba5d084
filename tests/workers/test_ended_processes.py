"""Runs whose process ended: what the parent tells of them, and what is recorded."""

import signal
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from billiard.pool import EX_OK, EX_RECYCLE
from django.db import DatabaseError

from tests.support.inbox_rows import make_job
from webhooks.inbox import transitions
from webhooks.models import Attempt, Job
from webhooks.states import AttemptOutcome, JobState
from workers.runs import ended_processes
from workers.runs.ended_processes import EndedRun, Watch, outcome_of, record_ended

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WORKER = "worker-1@host"
KILLED = "The process ended in mid-run: signal 9 (SIGKILL)."


def ended_run(
    job_id: int = 1, *, kind: AttemptOutcome = AttemptOutcome.CRASHED, pid: int = 11, reason: str = "It ended."
) -> EndedRun:
    return EndedRun(job_id=job_id, handler="shop.count", pid=pid, kind=kind, reason=reason)


class Pool:
    """A pool of children, whose ends a test reports, and that keeps what it is given to do."""

    def __init__(self, children: int) -> None:
        self.num_processes = children
        self.flushed: list[int] = []
        self._pool = SimpleNamespace(process_flush_queues=lambda child: self.flushed.append(child.index))
        self.told: list[EndedRun] = []
        self.failures = 0
        """How many of the next children end before they have recorded."""

    def ends(self, index: int, exitcode: int | None = -signal.SIGKILL, *, pid: int = 0) -> None:
        self._pool.process_flush_queues(SimpleNamespace(index=index, exitcode=exitcode, pid=pid))

    def apply_async(
        self, target: Any, args: tuple[list[EndedRun], str], timeout: float, error_callback: Callable[[Any], None]
    ) -> None:
        assert (target, args[1]) == (record_ended, WORKER)
        if self.failures:
            self.failures -= 1
            error_callback(WorkerLostError())
        else:
            self.told += args[0]


def watch_over(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Return a watch over the pool; a tick judges what it saw."""
    timer = SimpleNamespace(call_repeatedly=lambda *_args: None)
    worker = SimpleNamespace(pool=pool, hostname=WORKER, timer=timer, semaphore=None)
    watch = Watch(worker)
    monkeypatch.setattr(ended_processes, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(ended_processes, "_watch", None)
    watch.start(worker)
    return watch


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL) Job: 5."),
            (AttemptOutcome.CRASHED, "The process ended in mid-run: signal 9 (SIGKILL)."),
        ),
        (
            WorkerLostError("Worker exited prematurely: exitcode 1."),
            (AttemptOutcome.CRASHED, "The process ended in mid-run: exitcode 1."),
        ),
        (WorkerLostError("gone"), (AttemptOutcome.CRASHED, "The process ended in mid-run: gone.")),
        (
            TimeLimitExceeded(2.5),
            (AttemptOutcome.HARD_LIMIT, "The hard time limit of 2.5 s was reached, and the process was killed."),
        ),
    ],
)
def test_the_reason_says_how_the_process_ended(error: Any, told: tuple[AttemptOutcome, str]) -> None:
    assert outcome_of(error) == told


def test_a_child_that_is_killed_while_another_goes_on_has_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run(reason=KILLED))
    pool.ends(0)
    pool.ends(0)  # Its successor.
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.CRASHED]
    assert pool.flushed == [0, 0]


def test_when_a_child_was_killed_in_every_place_the_runs_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run(1, pid=11, reason=KILLED))
    watch.saw(ended_run(2, pid=12, reason=KILLED))
    pool.ends(0)
    pool.ends(1)
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.LOST] * 2
    assert pool.told[0].reason.startswith("All processes of the worker ended at once.")


@pytest.mark.parametrize("exitcode", [None, EX_OK, EX_RECYCLE, 1, -signal.SIGSEGV])
def test_when_another_child_ended_by_plan_or_by_its_own_doing_not_all_were_killed(
    exitcode: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    pool.ends(1, exitcode)
    watch.saw(ended_run(reason=KILLED))
    pool.ends(0)
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.CRASHED]


def test_when_another_child_was_killed_at_its_hard_limit_not_all_were_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run(kind=AttemptOutcome.HARD_LIMIT, pid=12))
    pool.ends(1, pid=12)
    watch.saw(ended_run(reason=KILLED))
    pool.ends(0, pid=11)
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.HARD_LIMIT, AttemptOutcome.CRASHED]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("exitcode 1", AttemptOutcome.CRASHED),
        ("exitcode 137", AttemptOutcome.CRASHED),
        ("signal 11 (SIGSEGV)", AttemptOutcome.CRASHED),
        ("signal 6 (SIGABRT)", AttemptOutcome.CRASHED),
        ("signal 9 (SIGKILL)", AttemptOutcome.LOST),
        ("signal 15 (SIGTERM)", AttemptOutcome.LOST),
        ("exitcode 0", AttemptOutcome.LOST),  # What Celery says where it does not know.
    ],
)
def test_a_process_that_ends_as_nobody_else_ends_it_has_crashed_whoever_else_is_gone(
    status: str, kind: AttemptOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run(reason=f"The process ended in mid-run: {status}."))
    pool.ends(0)
    pool.ends(1)
    watch.tick()
    assert [run.kind for run in pool.told] == [kind]


def test_what_a_child_took_with_it_is_handed_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run())
    pool.failures = 2
    for _ in range(3):
        assert pool.told == []
        watch.tick()
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.CRASHED]


def test_a_record_that_no_child_outlives_is_left_to_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run())
    pool.failures = ended_processes.RECORD_TRIES
    for _ in range(ended_processes.RECORD_TRIES + 1):
        watch.tick()
    assert (pool.failures, pool.told) == (0, [])


def test_children_that_were_killed_one_after_the_other_were_not_killed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    pool.ends(1)
    later = time.monotonic() + ended_processes.AT_ONCE_SECONDS + 1
    monkeypatch.setattr("workers.runs.ended_processes.time.monotonic", lambda: later)
    watch.saw(ended_run(reason=KILLED))
    pool.ends(0)
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.CRASHED]


def test_while_the_worker_stops_what_ended_is_left_to_the_lease(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    monkeypatch.setattr(ended_processes, "is_stopping", lambda: True)
    watch.saw(ended_run())
    watch.tick()
    assert pool.told == []
    assert "processes ended in mid-run; not recorded, the leases will end" in [
        record.getMessage() for record in caplog.records
    ]


def test_a_run_that_reached_its_hard_limit_did_so_whoever_else_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run(kind=AttemptOutcome.HARD_LIMIT))
    pool.ends(0)
    pool.ends(1)
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.HARD_LIMIT]


def test_an_only_child_cannot_be_told_from_all_children_and_has_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1)
    watch = watch_over(pool, monkeypatch)
    watch.saw(ended_run(reason=KILLED))
    pool.ends(0)
    watch.tick()
    assert [run.kind for run in pool.told] == [AttemptOutcome.CRASHED]


def test_nothing_is_told_before_the_others_have_had_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    watch = watch_over(pool, monkeypatch)
    monkeypatch.setattr(ended_processes, "SETTLE_SECONDS", 60.0)
    watch.saw(ended_run())
    watch.tick()
    assert pool.told == []


def claimed_job(**columns: Any) -> Job:
    job = make_job(JobState.QUEUED, **columns)
    assert transitions.claim(job.pk, worker=WORKER, pid=11, lease_seconds=60)
    return job


def test_a_crash_costs_an_attempt_and_the_last_one_is_the_end() -> None:
    job = claimed_job(max_attempts=2)
    record_ended([ended_run(job.pk)], WORKER)
    job.refresh_from_db()
    assert (job.state, job.lost, job.error) == (JobState.RETRYING, 0, "It ended.")

    Job.objects.filter(pk=job.pk).update(due_at=job.created_at)
    assert transitions.claim(job.pk, worker=WORKER, pid=12, lease_seconds=60)
    record_ended([ended_run(job.pk, pid=12)], WORKER)
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DEAD, "It ended. All 2 attempts are spent.")
    assert set(Attempt.objects.values_list("outcome", flat=True)) == {"crashed"}


def test_a_lost_run_costs_no_attempt() -> None:
    job = claimed_job(max_attempts=1)
    record_ended([ended_run(job.pk, kind=AttemptOutcome.LOST)], WORKER)
    job.refresh_from_db()
    assert (job.state, job.lost) == (JobState.RETRYING, 1)


@pytest.mark.parametrize(("worker", "pid"), [("worker-2@host", 11), (WORKER, 12)])
def test_a_run_that_another_process_holds_is_left_alone(worker: str, pid: int) -> None:
    job = claimed_job()
    record_ended([ended_run(job.pk, pid=pid)], worker)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING


def test_one_run_that_cannot_be_recorded_does_not_keep_the_next_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = claimed_job(), claimed_job()
    real = transitions.record_ended_process

    def fails_for_the_first(job_id: int, *args: Any, **kwargs: Any) -> Any:
        if job_id == first.pk:
            raise DatabaseError
        return real(job_id, *args, **kwargs)

    monkeypatch.setattr(transitions, "record_ended_process", fails_for_the_first)
    record_ended([ended_run(first.pk), ended_run(second.pk)], WORKER)
    assert set(Job.objects.values_list("pk", "state")) == {(first.pk, "running"), (second.pk, "retrying")}


def test_a_run_that_has_recorded_stays_as_it_is() -> None:
    job = claimed_job()
    Job.objects.filter(pk=job.pk).update(state=JobState.SUCCEEDED)
    record_ended([ended_run(job.pk)], WORKER)
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED
