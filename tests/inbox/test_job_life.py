"""A job's whole life in random order, two things at once among them, against a model of what is promised.

The model (tests/fuzz/job_model.py) says what may come of each step; the inbox must show exactly that. Time passes by
setting every moment in the inbox back. What is drawn never depends on who won a race, so that a failure can be
repeated.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.fuzz import job_steps
from tests.fuzz.job_model import FINAL, FREE_HAND_BACKS, MORE_LOST_RUNS, Ending, JobModel, between
from tests.fuzz.job_rows import Row, differences, known, rows, spent
from tests.fuzz.job_steps import HANDLERS, LEASE_SECONDS, LEASES, QUEUES, WORKER, Step, World, possibilities
from tests.support.services import repeats
from webhooks.inbox import due
from webhooks.inbox.claimed_job import ClaimedJob, Wanted

A_MONTH_SECONDS = 31 * 24 * 3600.0
CLOCK_STEP = timedelta(milliseconds=5)
"""SQLite's clock counts milliseconds."""
LIVES = int(os.environ.get("HOOKLINE_TEST_LIVES") or repeats(60))
"""How many lives are lived; `make fuzz` asks for more."""

GIVEN_BACK = Ending(outcome="given back")
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
limits = st.sampled_from([1, 2, 10])
PAUSABLE = (*QUEUES, *LEASES)
steps = st.tuples(
    st.sampled_from(
        [
            *("claim", "claim of a queue", "record", "record and claim", "begin", "give back", "give back unknown"),
            *("expire", "run again", "retry now", "give up", "end_without_run", "redeliver", "move", "pause", "resume"),
        ]
    ),
    picks,
    endings,
) | st.tuples(st.just("process ends"), picks, process_ends)


class JobLife(RuleBasedStateMachine):
    """Two deliveries at most, with three jobs each: of one, two and three attempts; two of them share a queue."""

    def __init__(self) -> None:
        super().__init__()
        job_steps.empty_inbox()
        self.world: World = {}
        self.rows: dict[int, Row] = {}
        self.read_at = datetime.max.replace(tzinfo=UTC)
        self.runs: list[ClaimedJob] = []
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

    @rule(queue=queues, limit=limits, handlers=st.sets(st.sampled_from(sorted(LEASES)), min_size=2))
    def a_worker_claims_of_a_queue(self, queue: str, limit: int, handlers: set[str]) -> None:
        self.happens(job_steps.claiming_of(queue, limit=limit, handlers=handlers))

    @rule(queue=queues, ends=st.lists(endings, min_size=1, max_size=3), limit=limits)
    def a_worker_records_and_claims(self, queue: str, ends: list[Ending], limit: int) -> None:
        runs = self.runs[-len(ends) :]
        wanted = Wanted(worker=WORKER, leases=LEASES, limit=limit, queue=queue)
        self.happens(job_steps.exchanging(wanted, *newest(zip(runs, ends, strict=False))))

    @rule(run=picks)
    def a_run_begins(self, run: int) -> None:
        self.happens(self.step("begin", run))

    @rule(run=picks, times=st.integers(1, 2))
    def a_claim_is_given_back(self, run: int, times: int) -> None:
        for _ in range(times):
            self.happens(self.step("give back", run))

    @rule(run=picks)
    def a_worker_gives_back_what_it_does_not_know_of(self, run: int) -> None:
        self.happens(self.step("give back unknown", run))

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

    @rule(job=picks, ending=st.sampled_from([HANDED_BACK, LOST, GIVEN_BACK]), times=st.integers(8, 14))
    def a_job_fares_badly_again_and_again(self, job: int, ending: Ending, times: int) -> None:
        """Bring a job to the bounds that a few steps never reach; once a life, for it takes long."""
        times, self.has_fared_badly = 0 if self.has_fared_badly else times, True
        for _ in range(times):
            self.time_passes(61.0)
            self.happens(self.step("claim", job))
            if ending is HANDED_BACK:
                self.happens(self.step("record", 0, ending))
            elif ending is GIVEN_BACK:
                self.happens(self.step("give back"))
            else:
                self.happens(self.step("begin"))
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

    @rule(seconds=st.sampled_from([0.0, 6.0, 61.0]))
    def the_relay_looks_for_what_is_due(self, seconds: float) -> None:
        self.time_passes(seconds)
        self.look()
        since = self.read_at
        found = self.due()
        self.look()
        assert {pk for pk, job in self.world.items() if job.is_due(since - CLOCK_STEP)} <= found
        assert {pk for pk, job in self.world.items() if job.is_due(self.read_at + CLOCK_STEP)} >= found

    @rule(job=picks)
    def the_relay_moves_a_job(self, job: int) -> None:
        self.happens(self.step("move", job))

    @rule(job=picks, seconds=st.sampled_from([0.0, 6.0]))
    def a_worker_claims_what_an_operator_retries_now(self, job: int, seconds: float) -> None:
        self.happens(self.step("claim", job))
        self.happens(self.step("record", 0, Ending(outcome="retry_later", after_seconds=30 * 3600)))
        self.time_passes(seconds)
        self.happens(self.step("retry now", job))
        self.happens(self.step("claim", job))

    @rule(name=st.integers(0, len(PAUSABLE) - 1), limit=limits)
    def a_worker_claims_beside_a_pause_and_after_it(self, name: int, limit: int) -> None:
        claims = [job_steps.claiming_of(queue, limit=limit) for queue in QUEUES]
        self.happens(claims[0], self.step("pause", name))
        self.happens(claims[1])
        self.happens(job_steps.claiming_of(QUEUES[0], limit=limit), self.step("resume", name))

    @rule(name=st.integers(0, len(PAUSABLE) - 1), change=st.sampled_from(["pause", "resume"]))
    def an_operator_pauses_or_resumes(self, name: int, change: str) -> None:
        self.happens(self.step(change, name))

    @rule(job=picks, change=st.sampled_from(["run again", "run again", "retry now", "give up", "end_without_run"]))
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
    def an_attempt_has_a_row_only_with_its_outcome(self) -> None:
        for row in self.rows.values():
            numbers = [number for number, _ in row["outcomes"]]
            assert numbers == sorted(set(numbers))
            assert all(0 < number <= row["attempt"] - (row["state"] == "running") for number in numbers)
            assert all(outcome for _, outcome in row["outcomes"])

    @invariant()
    def what_waits_may_be_claimed_some_time_and_nothing_else(self) -> None:
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
        for place in range(len(PAUSABLE)):
            self.happens(self.step("resume", place))
        for _ in range(1 + max(subscription.max_attempts for subscription in HANDLERS)):
            self.time_passes(A_MONTH_SECONDS)
            self.happens(self.step("expire"))
            self.time_passes(A_MONTH_SECONDS)
            waiting = {pk for pk, job in self.world.items() if job.state not in FINAL}
            if not waiting:
                break
            assert due.waiting_queues() == sorted({self.world[pk].queue for pk in waiting})
            assert self.due() == waiting
            self.runs.clear()
            for queue in QUEUES:
                self.happens(job_steps.claiming_of(queue, limit=len(waiting)))
            assert {run.pk for run in self.runs} == waiting
            self.happens(job_steps.exchanging(None, *((run, FAILED) for run in self.runs)))
        assert all(job.state in FINAL for job in self.world.values())

    # --- How it is held -----------------------------------------------------------------------------------------------

    def a_new_delivery_comes(self, guid: int, *, times_at_once: int) -> None:
        stored = job_steps.side_by_side([lambda: job_steps.store(guid)] * times_at_once)
        assert [one.is_duplicate for one in stored].count(False) == 1
        assert {one.job_count for one in stored} == {len(HANDLERS)}
        held = next((job.held for job in self.world.values()), frozenset[str]())
        self.look()
        limits = {subscription.name: subscription.max_attempts for subscription in HANDLERS}
        for pk, row in self.rows.items():
            if pk not in self.world:
                now = between(self.read_at)
                job = JobModel(
                    pk=pk,
                    guid=guid,
                    handler=row["handler"],
                    queue=row["queue"],
                    max_attempts=limits[row["handler"]],
                    began=now,
                    due=now,
                    publish=now,
                    held=held,
                )
                assert differences(job, row, slack=timedelta(seconds=4)) == []
                self.world = {**self.world, pk: job}
        self.adopt(self.world)

    def step(self, name: str, pick: int = 0, ending: Ending = FAILED) -> Step:
        """Return the step of this name; runs are picked from the latest backwards."""
        if name in OF_ONE_RUN:
            return OF_ONE_RUN[name](self.runs[-1 - pick % len(self.runs)], ending) if self.runs else NOTHING
        if name in OF_A_QUEUE:
            wanted = Wanted(worker=WORKER, leases=LEASES, limit=1 + pick, queue=QUEUES[pick % len(QUEUES)])
            ended = [(run, ending) for run in self.runs[-1:]] if name == "record and claim" else []
            return job_steps.exchanging(wanted, *ended)
        if name == "give back unknown":
            forgotten = self.runs[-1 - pick :][:1]
            known = {(run.pk, run.attempt) for run in self.runs if run not in forgotten}
            return job_steps.giving_back_unknown(known, self.world)
        if name in OF_ALL:
            return OF_ALL[name](pick, self.world)
        if name == "redeliver":
            guid = self.world[self.picked(pick)].guid
            return job_steps.redelivering(guid, self.jobs_of(guid))
        return OF_ONE_JOB[name](self.world[self.picked(pick)])

    def due(self) -> set[int]:
        found = [due.due_jobs(queue, handlers=LEASES, limit=100) for queue in QUEUES]
        return {job.pk for jobs in found for job in jobs}

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


OF_ONE_RUN = {
    "record": job_steps.recording,
    "process ends": job_steps.ending_process,
    "begin": job_steps.beginning,
    "give back": job_steps.giving_back,
}
OF_ONE_JOB: Mapping[str, Callable[[JobModel], Step]] = {
    "claim": lambda job: job_steps.claiming(job.pk, job.handler),
    "move": lambda job: job_steps.moving(job.pk, QUEUES[job.queue == QUEUES[0]]),
    "retry now": lambda job: job_steps.retrying_now(job.pk),
    "run again": lambda job: job_steps.running_again(job.pk),
    "give up": lambda job: job_steps.giving_up(job.pk),
    "end_without_run": lambda job: job_steps.burying(job.pk),
}
OF_ALL: Mapping[str, Callable[[int, World], Step]] = {
    "expire": lambda _pick, world: job_steps.expiring(world),
    "pause": lambda pick, world: job_steps.pausing(PAUSABLE[pick], world),
    "resume": lambda pick, world: job_steps.resuming(PAUSABLE[pick], world),
}
OF_A_QUEUE = ("claim of a queue", "record and claim")
NOTHING = Step(act=lambda: None, promise=lambda job, _at: job, jobs=frozenset())


def newest(ends: Iterable[tuple[ClaimedJob, Ending]]) -> list[tuple[ClaimedJob, Ending]]:
    """Leave out a job's older runs: the model asks of each job for one."""
    return list({run.pk: (run, ending) for run, ending in ends}.values())


def unkept(taken: tuple[Step, ...], answers: list[int | None], promised: list[int]) -> list[str]:
    """Say which answers are not as promised. Beside another step, only those count that say who won."""
    return [
        f"answered {answer}, not {expected}"
        for step, answer, expected in zip(taken, answers, promised, strict=True)
        if answer is not None and answer != expected and (step.has_one_winner or len(taken) == 1)
    ]


def of_lives(*, steps: int) -> settings:
    """Return how a life is tried: so many times, with so many steps."""
    return settings(
        max_examples=LIVES,
        stateful_step_count=steps,
        deadline=None,
        phases=set(Phase) - {Phase.explain},
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.mark.timeout(900)  # What fails is made small for up to five minutes.
@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
@pytest.mark.usefixtures("quick_commits")
def test_a_job_keeps_every_promise_whatever_happens_and_in_whatever_order(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="webhooks.inbox.transitions")  # A run lost is a warning each time.
    run_state_machine_as_test(JobLife, settings=of_lives(steps=40))
