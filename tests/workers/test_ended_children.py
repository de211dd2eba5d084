"""Runs whose process ended before it could say how they ended: what is made of them, and what is recorded."""

import signal
from typing import Any

import pytest
from billiard.pool import EX_OK, EX_RECYCLE

from tests.support.inbox_rows import make_job
from webhooks.inbox import transitions
from webhooks.models import Attempt, Job
from webhooks.states import AttemptOutcome, JobState
from workers.dispatcher.ended_children import AT_ONCE_SECONDS, SETTLE_SECONDS, CutOff, EndedChildren
from workers.dispatcher.exchange import ended_of
from workers.runs.messages import ChildEnded
from workers.runs.slots import Running

WORKER = "worker-1@host"
SETTLED = SETTLE_SECONDS + 0.1


def child(
    place: int, exit_code: int = -signal.SIGKILL, *, job_id: int = 1, is_idle: bool = False, at_limit: bool = False
) -> ChildEnded:
    """A child that has ended in the middle of a run, unless it was idle."""
    pid = 11 + place
    running = None if is_idle else Running(job_id, 1, pid, 10.0, 11.0, 12.5)
    return ChildEnded(place, pid, exit_code, running, at_limit)


def kinds(children: EndedChildren, *, now: float = SETTLED) -> list[AttemptOutcome]:
    return [run.kind for run in children.take_decided(now=now)]


@pytest.mark.parametrize(
    ("ended", "kind", "reason"),
    [
        (child(0), AttemptOutcome.CRASHED, "The process ended in mid-run: signal 9 (SIGKILL)."),
        (child(0, 1), AttemptOutcome.CRASHED, "The process ended in mid-run: exitcode 1."),
        (
            child(0, at_limit=True),
            AttemptOutcome.HARD_LIMIT,
            "The hard time limit of 2.5 s was reached, and the process was killed.",
        ),
    ],
)
def test_the_reason_says_how_the_process_ended(ended: ChildEnded, kind: AttemptOutcome, reason: str) -> None:
    children = EndedChildren(2)
    children.add(ended, now=0.0)
    assert children.take_decided(now=SETTLED) == [CutOff(1, 1, 11, 10.0, 0.0, kind, reason)]
    assert children.is_empty()


@pytest.mark.parametrize(
    ("exit_code", "kind"), [(-signal.SIGKILL, "lost"), (1, "crashed"), (-signal.SIGSEGV, "crashed")]
)
def test_a_child_that_is_killed_at_the_end_of_a_stop_has_lost_its_run(exit_code: int, kind: str) -> None:
    children = EndedChildren(2, is_stopping=lambda: True)
    children.add(child(0, exit_code), now=0.0)
    assert kinds(children) == [kind]


def test_a_child_that_is_killed_while_another_goes_on_has_crashed() -> None:
    children = EndedChildren(2)
    children.add(child(0), now=0.0)
    children.add(child(0, is_idle=True), now=0.1)  # Its successor.
    assert kinds(children) == [AttemptOutcome.CRASHED]


def test_when_a_child_was_killed_in_every_place_the_runs_are_lost() -> None:
    children = EndedChildren(3)
    children.add(child(0), now=0.0)
    children.add(child(1, job_id=2), now=0.1)
    children.add(child(2, is_idle=True), now=0.2)
    [first, second] = children.take_decided(now=SETTLED)
    assert (first.kind, second.kind) == (AttemptOutcome.LOST, AttemptOutcome.LOST)
    assert first.reason.startswith("All processes of the worker ended at once.")


@pytest.mark.parametrize("exit_code", [EX_OK, EX_RECYCLE, 1, -signal.SIGSEGV])
def test_when_another_child_ended_by_plan_or_by_its_own_doing_not_all_were_killed(exit_code: int) -> None:
    children = EndedChildren(2)
    children.add(child(1, exit_code, is_idle=True), now=0.0)
    children.add(child(0), now=0.0)
    assert kinds(children) == [AttemptOutcome.CRASHED]


def test_when_another_child_was_killed_at_its_hard_limit_not_all_were_killed() -> None:
    children = EndedChildren(2)
    children.add(child(1, at_limit=True), now=0.0)
    children.add(child(0), now=0.0)
    assert kinds(children) == [AttemptOutcome.HARD_LIMIT, AttemptOutcome.CRASHED]


@pytest.mark.parametrize(
    ("exit_code", "kind"),
    [
        (1, AttemptOutcome.CRASHED),
        (137, AttemptOutcome.CRASHED),
        (-signal.SIGSEGV, AttemptOutcome.CRASHED),
        (-signal.SIGABRT, AttemptOutcome.CRASHED),
        (-signal.SIGKILL, AttemptOutcome.LOST),
        (-signal.SIGTERM, AttemptOutcome.LOST),
    ],
)
def test_a_process_that_ends_as_nobody_else_ends_it_has_crashed_whoever_else_is_gone(
    exit_code: int, kind: AttemptOutcome
) -> None:
    children = EndedChildren(2)
    children.add(child(0, exit_code), now=0.0)
    children.add(child(1, is_idle=True), now=0.0)
    if kind is AttemptOutcome.CRASHED:
        children.add(child(0, is_idle=True), now=0.0)  # Its successor is killed as well.
    assert kinds(children) == [kind]


def test_children_that_were_killed_one_after_the_other_were_not_killed_at_once() -> None:
    children = EndedChildren(2)
    children.add(child(1, is_idle=True), now=0.0)
    later = AT_ONCE_SECONDS + 1
    children.add(child(0), now=later)
    assert kinds(children, now=later + SETTLED) == [AttemptOutcome.CRASHED]


def test_an_only_child_cannot_be_told_from_all_children_and_has_crashed() -> None:
    children = EndedChildren(1)
    children.add(child(0), now=0.0)
    assert kinds(children) == [AttemptOutcome.CRASHED]


def test_nothing_is_decided_before_the_others_have_had_their_time_unless_the_worker_ends() -> None:
    children = EndedChildren(2)
    children.add(child(0), now=0.0)
    assert children.take_decided(now=SETTLE_SECONDS / 2) == []
    assert not children.is_empty()
    assert [run.kind for run in children.take_decided(now=0.0, at_once=True)] == [AttemptOutcome.CRASHED]


def test_what_could_not_be_recorded_is_known_and_comes_again() -> None:
    children = EndedChildren(2)
    children.add(child(0, job_id=7), now=0.0)
    assert children.known() == {(7, 1)}
    decided = children.take_decided(now=SETTLED)
    children.put_back(decided)
    assert (children.is_empty(), children.known()) == (False, {(7, 1)})
    assert children.take_decided(now=SETTLED) == decided


# --- In the inbox -----------------------------------------------------------------------------------------------------


def claimed(**columns: Any) -> Job:
    job = make_job(JobState.QUEUED, **columns)
    claim(job)
    return job


def claim(job: Job) -> None:
    assert transitions.claim(job.pk, worker=WORKER, handler=job.handler, lease_seconds=60)


def cut_off(job: Job, *, attempt: int = 1, kind: AttemptOutcome = AttemptOutcome.CRASHED) -> CutOff:
    return CutOff(job.pk, attempt, 11, 0.0, 1.0, kind, "It ended.")


def record(run: CutOff) -> None:
    if ended := ended_of(run, WORKER):
        transitions.record(ended)


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
class TestInTheInbox:
    def test_a_crash_costs_an_attempt_and_the_last_one_is_the_end(self) -> None:
        job = claimed(max_attempts=2)
        record(cut_off(job))
        job.refresh_from_db()
        assert (job.state, job.lost, job.error) == (JobState.RETRYING, 0, "It ended.")

        Job.objects.filter(pk=job.pk).update(publish_at=job.created_at)
        claim(job)
        record(cut_off(job, attempt=2))
        job.refresh_from_db()
        assert (job.state, job.error) == (JobState.DEAD, "It ended. All 2 attempts are spent.")
        assert set(Attempt.objects.values_list("number", "outcome", "worker", "pid")) == {
            (1, "crashed", WORKER, 11),
            (2, "crashed", WORKER, 11),
        }

    def test_a_lost_run_costs_no_attempt(self) -> None:
        job = claimed(max_attempts=1)
        record(cut_off(job, kind=AttemptOutcome.LOST))
        job.refresh_from_db()
        assert (job.state, job.lost) == (JobState.RETRYING, 1)

    def test_a_later_run_and_one_that_has_recorded_are_left_as_they_are(self) -> None:
        job = claimed()
        record(cut_off(job, attempt=2))
        job.refresh_from_db()
        assert job.state == JobState.RUNNING
        Job.objects.filter(pk=job.pk).update(state=JobState.SUCCEEDED)
        record(cut_off(job))
        job.refresh_from_db()
        assert job.state == JobState.SUCCEEDED
        assert not Attempt.objects.exists()
