"""Jobs of a key through the real processes: one at a time and in order, also where a worker is killed with a turn."""

import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.stack import Stack, running_stack

KEYS, EACH = ("a", "b", "c"), 20


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    apps = {"HOOKLINE_APPS": "tests.apps.trial,tests.apps.ordered", "HOOKLINE_LEASE_MARGIN_SECONDS": "2"}
    with running_stack(tmp_path, database="postgres", broker="rabbitmq", **apps) as stack:
        stack.start_all()
        yield stack


def runs_of(stack: Stack) -> list[tuple[str, int, float, float | None]]:
    """Return (idempotency key, attempt, begin, end) of each run, by its begin; without an end, it was killed."""
    begins: dict[tuple[str, int], float] = {}
    ends: dict[tuple[str, int], float] = {}
    for line in stack.effects.read_text().splitlines():
        key, attempt, word, at, _ = line.split()
        (begins if word == "begun" else ends)[key, int(attempt)] = float(at)
    return sorted(((*run, at, ends.get(run)) for run, at in begins.items()), key=lambda run: run[2])


@pytest.mark.slow  # A dead worker's lease has to end.
@pytest.mark.postgres
@pytest.mark.rabbitmq
def test_jobs_of_a_key_run_one_by_one_in_order_and_go_on_after_a_worker_was_killed(stack: Stack) -> None:
    for _ in range(EACH):
        for key in KEYS:
            assert stack.send("ordered", of=key)[0] == 202
    wait_until(lambda: stack.states()["succeeded"] >= 6, what="some jobs to be done")
    os.killpg(stack.processes[2][1].pid, signal.SIGKILL)
    stack.start("worker", "--concurrency", "4")
    stack.start("worker", "--concurrency", "4")
    stack.wait_until_drained()
    assert stack.states() == {"succeeded": EACH * len(KEYS)}
    of_keys = dict(
        stack.rows(
            "SELECT source.name || ':' || hook_id || ':' || guid || ':' || handler, order_key FROM webhooks_job"
            " JOIN webhooks_delivery AS delivery ON delivery.id = delivery_id"
            " JOIN webhooks_source AS source ON source.id = source_id"
        )
    )
    assert stack.rows("SELECT count(*) FROM webhooks_attempt WHERE outcome = 'lost'")[0][0] >= 1
    ended = [run for run in runs_of(stack) if run[3] is not None]
    for key in set(of_keys.values()):
        own = [run for run in ended if of_keys[run[0]] == key]
        assert len(own) >= EACH
        assert all(one[3] is not None and one[3] <= following[2] for one, following in pairwise(own))
    in_order = stack.rows(
        "SELECT count(*) FROM webhooks_job AS job JOIN webhooks_job AS later"
        " ON later.order_key = job.order_key AND later.id > job.id AND later.claimed_at < job.claimed_at"
        " WHERE job.attempt = 1"
    )
    assert in_order == [(0,)]
