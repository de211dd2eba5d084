"""Replayed jobs in a real worker on a real broker: behind live ones, and in half of the places at most."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import FOR_PROGRAMS
from tests.support.processes import wait_until
from tests.support.stack import Stack, running_stack

REPLAYED = 4
SECONDS = 2


@pytest.mark.parametrize("broker", FOR_PROGRAMS)
def test_live_jobs_run_while_replayed_ones_wait_and_those_leave_half_of_the_places_free(
    tmp_path: Path, broker: str
) -> None:
    with running_stack(tmp_path, database="postgres", broker=broker) as stack:
        stack.migrate()
        stack.start("receiver")
        stack.wait_until_ready()
        for _ in range(REPLAYED):
            assert stack.send("work", seconds=SECONDS)[0] == 202
        # As if the other side had been away.
        died = "UPDATE webhooks_job SET state = 'dead', publish_at = NULL, finished_at = now() RETURNING id"
        replayed = {job for (job,) in stack.rows(died)}
        said = stack.manage("replay", "--rate", "100", "--reason", "it is back", "--yes", "--no-wait")
        assert f"{REPLAYED}  dead jobs" in said
        stack.start("relay")
        stack.start("worker", "--concurrency", "2")
        wait_until(lambda: bool(stack.marks()), seconds=60, what="a replayed job to run")
        for _ in range(6):
            assert stack.send("work")[0] == 202
        stack.wait_until_drained()
        wait_until(lambda: _state(stack) == "finished", what="the replay to finish")
        runs = stack.rows("SELECT job_id, started_at, finished_at FROM webhooks_attempt ORDER BY started_at")
        assert set(stack.states()) == {"succeeded"}
    slow = [run for run in runs if run[0] in replayed]
    live = [run for run in runs if run[0] not in replayed]
    assert (len(slow), len(live)) == (REPLAYED, 6)
    assert max(ended for *_, ended in live) < slow[-1][1], "No live job waits for the replayed ones."
    assert all(_follows(before, after) for before, after in itertools.pairwise(slow)), slow


def _state(stack: Stack) -> Any:
    return stack.rows("SELECT state FROM webhooks_replay")[0][0]


def _follows(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    """Whether one run began only as the other had ended, give or take half of a run."""
    return bool((before[2] - after[1]).total_seconds() < SECONDS / 2)
