"""A job's whole life in random order, two things at once among them, against a model of what is promised.

The model (tests/fuzz/job_model.py) says what may come of each step; the inbox must show exactly that. Time passes by
setting every moment in the inbox back. What is drawn never depends on who won a race, so that a failure can be
repeated.
"""

import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.fuzz import job_steps
from tests.fuzz.job_model import FINAL, FREE_HAND_BACKS, MORE_LOST_RUNS, RUNS, Ending, JobModel, between
from tests.fuzz.job_rows import Row, differences, known, rows, spent
from tests.fuzz.job_steps import HANDLERS, LEASE_SECONDS, QUEUES, Run, Step, World, possibilities
from tests.support.services import repeats
from webhooks.inbox import due

A_MONTH_SECONDS = 31 * 24 * 3600.0
CLOCK_STEP = timedelta(milliseconds=5)
"""SQLite's clock counts milliseconds."""
PROCESSES = 5
LIVES = int(os.environ.get("HOOKLINE_TEST_LIVES") or repeats(60))
"""How many lives are lived; `make fuzz` asks for more."""

FAILED, HANDED_BACK, LOST = Ending(outcome="failed"), Ending(outcome="handed_back"), Ending(outcome="lost")
endings = st.sampled_from(
    [
        Ending(outcome="succeeded"),
        Ending(outcome="succeeded"),
        FAILED,
        Ending(outcome="failed", first_seconds=20),
        Ending(outcome="soft_limit", first_seconds=20),
        Ending(outcome="hard_limit"),
        Ending(outcome="gave_up"),
        HANDED_BACK,
        HANDED_BACK,
        Ending(outcome="retry_later"),
        Ending(outcome="retry_later", after_seconds=300),
        Ending(outcome="retry_later", after_seconds=30 * 3600),
    ]
)
process_ends = st.sampled_from(
    [Ending(outcome="crashed"), Ending(outcome="crashed", first_seconds=20), Ending(outcome="hard_limit"), LOST]
)
picks = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3])
queues = st.sampled_from(QUEUES)
steps = st.tuples(
    st.sampled_from(["claim", "record", "expire", "publish", "run again", "give up", "end_without_run", "redeliver"]),
    picks,
    endings,
) | st.tuples(st.just("process ends"), picks, process_ends)


class JobLife(RuleBasedStateMachine):
    """Two deliveries at most, with two jobs each: one of a single attempt, one of three."""

    def __init__(self) -> None:
        super().__init__()
        job_steps.empty_inbox()
        self.world: World = {}
        self.rows: dict[int, Row] = {}
        self.read_at = datetime.max.replace(tzinfo=UTC)
        self.claims = 0
        self.runs: list[Run] = []
        self.taken: list[int] = []
        self.attempts_seen: dict[int, int] = {}
        self.has_fared_badly = False

    @initialize()
    def a_first_delivery(self) -> None:
        self.a_new_delivery_comes(0, times_at_once=1)

    def teardown(self) -> None:
        # After a step that failed there is nothing more to learn from.
        if sys.exc_info()[0] is None:
            self.every_job_comes_to_an_end()

    # --- What happens -------------------------------------------------------------------------------------------------

    @rule(guid=st.integers(0, 1), times_at_once=st.integers(1, 2))
    def a_delivery_comes(self, guid: int, times_at_once: int) -> None:
        if self.jobs_of(guid):
            self.happens(*[self.step("redeliver", guid)] * times_at_once)
        else:
            self.a_new_delivery_comes(guid, times_at_once=times_at_once)

    @rule(job=picks)
    def a_worker_claims(self, job: int) -> None:
        self.happens(self.step("claim", job))

    @rule(run=picks, ending=endings)
    def a_run_records(self, run: int, ending: Ending) -> None:
        self.happens(self.step("record", run, ending))

    @rule(run=picks, ending=process_ends)
    def the_process_of_a_run_ends(self, run: int, ending: Ending) -> None:
        self.happens(self.step("process ends", run, ending))

    @rule(job=picks, ending=endings)
    def a_run_is_over_at_once(self, job: int, ending: Ending) -> None:
        self.happens(self.step("claim", job))
        self.happens(self.step("record", 0, ending))

    @rule(job=picks, ending=endings)
    def a_run_records_after_another_has_its_job(self, job: int, ending: Ending) -> None:
        self.happens(self.step("claim", job))
        self.time_passes(LEASE_SECONDS + 1)
        self.happens(self.step("expire"))
        self.time_passes(61.0)
        self.happens(self.step("claim", job))
        self.happens(self.step("record", 1, ending))

    @rule(job=picks, ending=endings)
    def a_delivery_comes_again_after_a_run(self, job: int, ending: Ending) -> None:
        self.happens(self.step("claim", job))
        self.happens(self.step("record", 0, ending))
        self.happens(self.step("redeliver", job))

    @rule(job=picks)
    def a_worker_claims_what_is_due_by_now(self, job: int) -> None:
        self.time_passes(61.0)
        self.happens(self.step("claim", job))

    @rule(job=picks)
    def a_worker_claims_what_an_operator_runs_again(self, job: int) -> None:
        self.happens(self.step("run again", job))
        self.happens(self.step("claim", job))

    @rule(job=picks, ending=st.sampled_from([HANDED_BACK, LOST]), times=st.integers(8, 14))
    def a_job_fares_badly_again_and_again(self, job: int, ending: Ending, times: int) -> None:
        """Bring a job to the bounds that a few steps never reach; once a life, for it takes long."""
        times, self.has_fared_badly = 0 if self.has_fared_badly else times, True
        for _ in range(times):
            self.time_passes(61.0)
            self.happens(self.step("claim", job))
            if ending is HANDED_BACK:
                self.happens(self.step("record", 0, ending))
            else:
                self.time_passes(LEASE_SECONDS + 1)
                self.happens(self.step("expire"))

    @rule(seconds=st.sampled_from([1.0, 6.0, 61.0, 3600.0, 25 * 3600.0]))
    def time_passes(self, seconds: float) -> None:
        job_steps.let_pass(seconds)
        self.world = {pk: job.after(timedelta(seconds=seconds)) for pk, job in self.world.items()}

    @rule(seconds=st.sampled_from([0.0, LEASE_SECONDS - 10, LEASE_SECONDS + 1]))
    def the_relay_looks_for_lost_runs(self, seconds: float) -> None:
        self.time_passes(seconds)
        self.happens(self.step("expire"))

    @rule(seconds=st.sampled_from([0.0, 6.0, 61.0]), queue=picks)
    def the_relay_publishes(self, seconds: float, queue: int) -> None:
        self.time_passes(seconds)
        self.happens(self.step("publish", queue))

    @rule(job=picks, queue=queues | st.none())
    def the_relay_moves_what_it_took_or_puts_it_back(self, job: int, queue: str | None) -> None:
        self.happens(job_steps.moving(self.picked(job), queue) if queue else job_steps.putting_back(self.taken))

    @rule(job=picks, change=st.sampled_from(["run again", "run again", "give up", "end_without_run"]))
    def somebody_decides(self, job: int, change: str) -> None:
        self.happens(self.step(change, job))

    @rule(one=steps, other=steps)
    def two_at_once(self, one: tuple[str, int, Ending], other: tuple[str, int, Ending]) -> None:
        self.happens(self.step(*one), self.step(*other))

    # --- What must hold at any time -----------------------------------------------------------------------------------

    @invariant()
    def no_row_came_twice(self) -> None:
        guids = {job.guid for job in self.world.values()}
        assert len(self.rows) == len(HANDLERS) * len(guids)
        assert {row["delivery__guid"].int for row in self.rows.values()} == guids

    @invariant()
    def an_attempt_never_falls(self) -> None:
        for pk, row in self.rows.items():
            assert row["attempt"] >= self.attempts_seen.get(pk, 0)
            self.attempts_seen[pk] = row["attempt"]

    @invariant()
    def each_attempt_has_one_outcome_but_the_one_that_runs(self) -> None:
        for row in self.rows.values():
            assert [number for number, _ in row["outcomes"]] == list(range(1, row["attempt"] + 1))
            running = [number for number, outcome in row["outcomes"] if outcome == RUNS]
            assert running == ([row["attempt"]] if row["state"] == "running" else [])

    @invariant()
    def what_waits_is_to_be_published_and_nothing_else(self) -> None:
        for row in self.rows.values():
            assert (row["publish_at"] is not None) == (row["state"] in ("queued", "retrying"))

    @invariant()
    def a_lease_is_held_by_what_runs_and_nothing_else(self) -> None:
        for row in self.rows.values():
            assert (row["lease_until"] is not None) == (row["state"] == "running")

    @invariant()
    def what_is_final_has_finished_and_nothing_else(self) -> None:
        for row in self.rows.values():
            assert (row["finished_at"] is not None) == (row["state"] in FINAL)

    @invariant()
    def no_budget_is_overdrawn(self) -> None:
        for row in self.rows.values():
            assert 0 <= spent(row) <= row["max_attempts"]
            assert row["forgiven"] <= FREE_HAND_BACKS
            assert row["lost"] <= row["max_attempts"] + MORE_LOST_RUNS

    @invariant()
    def a_budget_succeeds_once(self) -> None:
        for row in self.rows.values():
            own = [outcome for number, outcome in row["outcomes"] if number > row["budget_from_attempt"]]
            assert own.count("succeeded") <= 1

    def every_job_comes_to_an_end(self) -> None:
        """Let a month pass again and again: what waits is published and can be claimed; every run fails."""
        for _ in range(1 + max(subscription.max_attempts for subscription in HANDLERS)):
            self.time_passes(A_MONTH_SECONDS)
            self.happens(self.step("expire"))
            self.time_passes(A_MONTH_SECONDS)
            waiting = {pk for pk, job in self.world.items() if job.state not in FINAL}
            if not waiting:
                break
            assert due.waiting_queues() == sorted({self.world[pk].queue for pk in waiting})
            published = set()
            for queue in QUEUES:
                self.happens(job_steps.publishing(queue, self.world))
                published.update(self.taken)
            assert published == waiting
            for pk in sorted(waiting):
                self.happens(self.claiming(pk))
                assert self.world[pk].state == "running"
                self.happens(self.step("record", 0, FAILED))
        assert all(job.state in FINAL for job in self.world.values())

    # --- How it is held -----------------------------------------------------------------------------------------------

    def a_new_delivery_comes(self, guid: int, *, times_at_once: int) -> None:
        stored = job_steps.side_by_side([lambda: job_steps.store(guid)] * times_at_once)
        assert [one.is_duplicate for one in stored].count(False) == 1
        assert {one.job_count for one in stored} == {len(HANDLERS)}
        self.look()
        limits = {subscription.queue: subscription.max_attempts for subscription in HANDLERS}
        for pk, row in self.rows.items():
            if pk not in self.world:
                now, publish = between(self.read_at), between(self.read_at + timedelta(seconds=5))
                job = JobModel(
                    guid=guid,
                    queue=row["queue"],
                    max_attempts=limits[row["queue"]],
                    began=now,
                    due=now,
                    publish=publish,
                )
                assert differences(job, row, slack=timedelta(seconds=4)) == []
                self.world = {**self.world, pk: job}
        self.adopt(self.world)

    def step(self, name: str, pick: int = 0, ending: Ending = FAILED) -> Step:
        """Return the step of this name; runs are picked from the latest backwards."""
        if name in OF_ONE_RUN:
            return OF_ONE_RUN[name](self.runs[-1 - pick % len(self.runs)], ending) if self.runs else NOTHING
        if name == "claim":
            return self.claiming(self.picked(pick))
        if name == "expire":
            return job_steps.expiring(self.world)
        if name == "publish":
            return job_steps.publishing(QUEUES[pick % len(QUEUES)], self.world)
        if name == "redeliver":
            guid = self.world[self.picked(pick)].guid
            return job_steps.redelivering(guid, self.jobs_of(guid))
        return OF_ONE_JOB[name](self.picked(pick))

    def claiming(self, pk: int) -> Step:
        self.claims += 1
        return job_steps.claiming(pk, pid=self.claims % PROCESSES)

    def picked(self, pick: int) -> int:
        return sorted(self.world)[pick % len(self.world)]

    def jobs_of(self, guid: int) -> list[int]:
        return [pk for pk, job in self.world.items() if job.guid == guid]

    def happens(self, *taken: Step) -> None:
        """Take one step, or two side by side, and hold the inbox against what may have come of it."""
        before = self.read_at - CLOCK_STEP
        answers = job_steps.side_by_side([step.act for step in taken])
        self.look()
        for step in taken:
            self.runs += step.runs
            self.taken = self.taken if step.taken is None else step.taken
        faults: list[str] = []
        for at in (before, self.read_at):
            for world, promised in possibilities(self.world, taken, at):
                found = self.faults(world, slack=self.read_at - before)
                found += unkept(taken, answers, promised)
                if not found:
                    self.adopt(world)
                    return
                faults = faults or found
        raise AssertionError("\n".join(faults))

    def look(self) -> None:
        self.rows = rows()
        self.read_at = min(row["at"] for row in self.rows.values())

    def faults(self, world: World, *, slack: timedelta) -> list[str]:
        return [
            f"job {pk}: {fault}" for pk, job in world.items() for fault in differences(job, self.rows[pk], slack=slack)
        ]

    def adopt(self, world: World) -> None:
        """Go on from the world that the inbox shows, and from the moments that it has."""
        self.world = {pk: known(job, self.rows[pk]) for pk, job in world.items()}


OF_ONE_RUN = {"record": job_steps.recording, "process ends": job_steps.ending_process}
OF_ONE_JOB = {
    "run again": job_steps.running_again,
    "give up": job_steps.giving_up,
    "end_without_run": job_steps.burying,
}
NOTHING = Step(act=lambda: None, promise=lambda job, _at: job, jobs=frozenset())


def unkept(taken: tuple[Step, ...], answers: list[int | None], promised: list[int]) -> list[str]:
    """Say which answers are not as promised. Beside another step, only those count that say who won."""
    return [
        f"answered {answer}, not {expected}"
        for step, answer, expected in zip(taken, answers, promised, strict=True)
        if answer is not None and answer != expected and (step.has_one_winner or len(taken) == 1)
    ]


@pytest.fixture
def quick_commits(transactional_db: None) -> Iterator[None]:
    """Do without the wait for the disk, which is not what is tried here."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SET synchronous_commit = off" if connection.vendor == "postgresql" else "PRAGMA synchronous = OFF"
        )
    yield
    connection.close()


@pytest.mark.timeout(900)  # What fails is made small for up to five minutes.
@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
@pytest.mark.usefixtures("quick_commits")
def test_a_job_keeps_every_promise_whatever_happens_and_in_whatever_order(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="webhooks.inbox.transitions")  # A run lost is a warning each time.
    run_state_machine_as_test(
        JobLife,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=40,
            deadline=None,
            phases=set(Phase) - {Phase.explain},
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
