"""Jobs with keys in a random life, two things at once among them: what must hold of their turns at any time.

`test_job_life.py` holds each job without a key against an exact model. Here whole keys are looked at.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.fuzz import job_steps
from tests.fuzz.job_steps import side_by_side
from tests.inbox.test_job_life import of_lives
from tests.inbox.test_turns import COUNT, ended
from tests.support.inbox_rows import new_delivery
from webhooks.inbox import store, transitions
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.late_turns import LateTurns
from webhooks.models import Job
from webhooks.replay_queues import replay_queue
from webhooks.states import JobState
from webhooks.subscriptions.keys import JobKeys

WAITING = ("queued", "retrying")
FINAL = ("succeeded", "dead", "skipped")
A_MONTH_SECONDS = 31 * 24 * 3600.0
KEYS = (
    JobKeys(order="o1"),
    JobKeys(order="o1", fair="a"),
    JobKeys(order="o2", latest="o2", fair="b"),
    JobKeys(latest="l1", fair="b"),
    JobKeys(fair=""),
)
ENDS = st.sampled_from(
    [("succeeded", 0.0), ("succeeded", 0.0), ("failed", 0.0), ("retry_later", 300.0), ("gave_up", 0.0), ("lost", 0.0)]
)
picks = st.integers(0, 7)
Act = Callable[[], Any]


class TurnsLife(RuleBasedStateMachine):
    """A few keys; a worker that claims, records, gives back and dies; operators, replays, a relay."""

    def __init__(self) -> None:
        super().__init__()
        job_steps.empty_inbox()
        self.runs: list[ClaimedJob] = []
        self.stored = 0
        self.rows: dict[int, dict[str, Any]] = {}

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.every_job_comes_to_an_end()

    # --- What happens -------------------------------------------------------------------------------------------------

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    def deliveries_come_together(self, keys: list[JobKeys]) -> None:
        self.happen(self.arrival(keys))

    @rule(one=st.sampled_from(KEYS), other=st.sampled_from(KEYS), limit=st.sampled_from([1, 10]))
    def deliveries_come_at_once_while_a_worker_claims(self, one: JobKeys, other: JobKeys, limit: int) -> None:
        self.happen(self.arrival([one]), self.arrival([other]), self.claim("default", limit))

    @rule(
        queue=st.sampled_from(["default", replay_queue("default")]),
        limit=st.sampled_from([1, 2, 10]),
        fair=st.booleans(),
    )
    def a_worker_claims(self, queue: str, limit: int, fair: bool) -> None:
        self.happen(self.claim(queue, limit, after="" if fair else None))

    @rule(ends=st.lists(ENDS, min_size=1, max_size=3), limit=st.sampled_from([0, 1, 10]))
    def runs_end(self, ends: list[tuple[str, float]], limit: int) -> None:
        self.happen(self.record(ends, limit))

    @rule(end=ENDS, keys=st.sampled_from(KEYS))
    def a_run_ends_as_a_delivery_comes(self, end: tuple[str, float], keys: JobKeys) -> None:
        self.happen(self.record([end], 0), self.arrival([keys]))

    @rule(pick=picks)
    def a_claim_is_given_back(self, pick: int) -> None:
        runs = self.runs[pick : pick + 1]
        self.happen(lambda: transitions.release(runs))

    @rule(seconds=st.sampled_from([1.0, 61.0, 301.0, A_MONTH_SECONDS]))
    def time_passes_and_leases_end(self, seconds: float) -> None:
        job_steps.let_pass(seconds)
        self.happen(transitions.expire_leases)

    @rule(pick=picks, change=st.sampled_from(["run_again", "replay", "give_up", "retry_now", "take_back", "end"]))
    def somebody_decides(self, pick: int, change: str) -> None:
        self.happen(self.decision(pick, change))

    @rule(pick=picks, other=picks, change=st.sampled_from(["run_again", "replay", "give_up", "retry_now"]))
    def two_decide_at_once_while_a_delivery_comes(self, pick: int, other: int, change: str) -> None:
        self.happen(self.decision(pick, change), self.decision(other, "give_up"), self.arrival([KEYS[0]]))

    @rule()
    def the_relay_looks(self) -> None:
        self.happen(LateTurns().step)

    # --- What must hold at any time -----------------------------------------------------------------------------------

    @invariant()
    def one_job_of_a_key_has_the_turn_as_long_as_any_waits(self) -> None:
        for order in {row["order_key"] for row in self.rows.values() if row["order_key"]}:
            own = [row for row in self.rows.values() if row["order_key"] == order and row["state"] not in FINAL]
            turns = [row for row in own if row["state"] == "running" or row["publish_at"]]
            assert len(turns) == bool(own), order

    @invariant()
    def only_what_waits_for_a_turn_is_out_of_sight(self) -> None:
        for row in self.rows.values():
            if row["state"] in WAITING and row["publish_at"] is None:
                assert row["order_key"]
            if row["publish_at"] is not None:
                assert row["state"] in WAITING
                assert row["publish_at"] == row["due_at"]

    @invariant()
    def no_job_that_is_put_off_or_replayed_holds_up_one_that_is_due(self) -> None:
        """A job that is queued is due; of the others nothing can be said without a clock."""
        for row in self.rows.values():
            if row["state"] == "queued" and row["publish_at"] is None and row["queue"] == "default":
                same = [each for each in self.rows.values() if each["order_key"] == row["order_key"]]
                for first in (each for each in same if each["publish_at"]):
                    assert first["queue"] == "default"
                    assert first["publish_at"] <= first["at"]

    @invariant()
    def of_a_key_with_only_the_latest_at_most_one_waits(self) -> None:
        for latest in {row["latest_key"] for row in self.rows.values() if row["latest_key"]}:
            own = [row for _, row in sorted(self.rows.items()) if row["latest_key"] == latest]
            live = [row["pk"] for row in own if row["state"] not in FINAL]
            waiting = [pk for pk in live if self.rows[pk]["state"] in WAITING]
            assert waiting in ([], live[-1:])

    @invariant()
    def no_job_is_lost_and_what_is_superseded_says_so(self) -> None:
        assert len(self.rows) == self.stored
        for row in self.rows.values():
            assert row["superseded_by"] is None or row["state"] == "skipped"

    def every_job_comes_to_an_end(self) -> None:
        for _ in range(10 * (self.stored + 1)):
            self.runs.clear()
            job_steps.let_pass(A_MONTH_SECONDS)
            transitions.expire_leases()
            for queue in ("default", replay_queue("default")):
                self.happen(self.claim(queue, 100))
            transitions.exchange([ended(run) for run in self.runs], None)
            LateTurns().step()
            if not Job.objects.exclude(state__in=FINAL).exists():
                return
        raise AssertionError(list(Job.objects.exclude(state__in=FINAL).values()))

    # --- How it is done -----------------------------------------------------------------------------------------------

    def happen(self, *acts: Act) -> None:
        side_by_side(acts)
        names = ("pk", "state", "queue", "order_key", "latest_key", "publish_at", "due_at", "superseded_by")
        self.rows = {row["pk"]: dict(row) for row in Job.objects.values(*names, at=Now())}

    def arrival(self, keys: list[JobKeys]) -> Act:
        self.stored += len(keys)
        group = [new_delivery(subscriptions=[COUNT], keys={COUNT.name: each}) for each in keys]

        def store_them() -> None:
            for new, stored in zip(group, store.store_together(group), strict=True):
                if stored is None:
                    store.store(new)

        return store_them

    def claim(self, queue: str, limit: int, *, after: str | None = None) -> Act:
        wanted = Wanted(worker="w", leases={COUNT.name: 60.0}, limit=limit, queue=queue, after=after)
        return lambda: self.runs.extend(transitions.exchange([], wanted)[1])

    def record(self, ends: list[tuple[str, float]], limit: int) -> Act:
        runs = self.runs[-len(ends) :]
        over = [ended(run, kind, after_seconds=after) for run, (kind, after) in zip(runs, ends, strict=False)]
        wanted = Wanted(worker="w", leases={COUNT.name: 60.0}, limit=limit, queue="default") if limit else None
        return lambda: self.runs.extend(transitions.exchange(over, wanted)[1])

    def decision(self, pick: int, change: str) -> Act:
        pks = sorted(self.rows)
        jobs = Job.objects.filter(pk=pks[pick % len(pks)] if pks else 0)
        decide: dict[str, Act] = {
            "run_again": lambda: transitions.run_again(jobs),
            "replay": lambda: transitions.replay(jobs),
            "give_up": lambda: transitions.give_up(jobs),
            "retry_now": lambda: transitions.retry_now(jobs),
            "take_back": lambda: transitions.take_back(jobs, state=JobState.SUCCEEDED),
            "end": lambda: transitions.end_without_run([each.pk for each in jobs], reason="gone"),
        }
        return decide[change]


@pytest.mark.timeout(900)  # What fails is made small for up to five minutes.
@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
@pytest.mark.usefixtures("quick_commits")
def test_turns_are_kept_and_passed_on_whatever_happens_and_in_whatever_order() -> None:
    store.store(new_delivery())  # So that there is a source.
    run_state_machine_as_test(TurnsLife, settings=of_lives(steps=30))
