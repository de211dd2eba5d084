"""What a worker does before it forks: children of a real worker tell what they started with."""

import gc
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.processes import OUTSIDE, wait_until
from tests.support.stack import Stack, running_stack
from webhooks.inbox.claimed_event import event_of
from webhooks.subscriptions.event import Event
from workers import memory
from workers.processes.immortal import can_be_immortal

JOBS_OF_A_CHILD = 2

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation whose worker has a single child at a time."""
    directory = tmp_path_factory.mktemp("memory")
    settings = {
        "HOOKLINE_APPS": "curious_bot",
        "PYTHONPATH": str(OUTSIDE),
        "HOOKLINE_CHILD_MAX_JOBS": str(JOBS_OF_A_CHILD),
    }
    with running_stack(directory, database="postgres", broker="filesystem", **settings) as stack:
        stack.start_all(concurrency=1)
        yield stack


@pytest.fixture(scope="module")
def told(stack: Stack) -> list[dict[str, Any]]:
    """What the first child tells in its two jobs, and the one that takes its place in the third."""
    return [tell(stack, number) for number in range(JOBS_OF_A_CHILD + 1)]


def tell(stack: Stack, number: int) -> dict[str, Any]:
    """Have a job run, and return what its handler told."""
    assert stack.send("tell")[0] == 202

    def line() -> str | None:
        lines = stack.effects.read_text().splitlines() if stack.effects.exists() else []
        return lines[number] if len(lines) > number else None

    answer: dict[str, Any] = json.loads(wait_until(line, what="the handler to tell"))
    wait_until(stack.is_drained, what="the job to be recorded")
    return answer


def test_what_a_worker_has_loaded_is_frozen_in_its_children(told: list[dict[str, Any]]) -> None:
    first = told[0]
    assert first["frozen"] > 50_000
    assert first["in sight"] < first["frozen"] / 5


def test_what_a_worker_has_loaded_is_immortal_in_its_children_where_python_has_that(told: list[dict[str, Any]]) -> None:
    assert [one["immortal"] for one in told] == [can_be_immortal()] * len(told)


@pytest.mark.parametrize("is_wanted", [True, False])
def test_what_is_loaded_is_made_immortal_unless_a_variable_says_no(
    is_wanted: bool, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    done: list[str] = []
    for name in ("warm_up", "make_immortal", "gc.freeze"):
        monkeypatch.setattr(f"workers.memory.{name}", partial(done.append, name))
    settings.HOOKLINE_IMMORTAL = is_wanted
    memory.keep_loaded_shared()
    assert done == ["warm_up", *(["make_immortal"] if is_wanted else []), "gc.freeze"]


def test_a_child_that_takes_anothers_place_starts_with_the_same(told: list[dict[str, Any]]) -> None:
    first, _, last = told
    assert first["pid"] != last["pid"]
    assert last["frozen"] > first["frozen"] * 0.99
    assert last["in sight"] < last["frozen"] / 5


def test_what_a_child_inherits_is_no_reason_to_replace_it(told: list[dict[str, Any]]) -> None:
    """tests/workers/test_recycling.py has the same of an application that is heavier than the limit."""
    assert told[0]["pid"] == told[1]["pid"]


def test_a_child_imports_nothing_more_for_its_first_job(told: list[dict[str, Any]]) -> None:
    # By its second, it has claimed, run and recorded one.
    assert [module for module in told[1]["imported since"] if not module.startswith("coverage")] == []


def test_nothing_is_connected_to_the_database_as_a_worker_forks(told: list[dict[str, Any]]) -> None:
    assert [one["connected at fork"] for one in told] == [False, False, False]


def test_a_warm_up_needs_no_database_and_says_as_often_as_it_is_told_how_a_run_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Event] = []
    monkeypatch.setattr(memory, "event_of", lambda job: made.append(event_of(job)))
    memory.warm_up()  # pytest-django lets this test ask no database.
    assert [event.payload for event in made] == [{}] * memory.WARM_UP_RUNS


def test_the_garbage_collector_does_not_look_at_what_was_there_before_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "warm_up", lambda: None)
    monkeypatch.setattr(memory, "make_immortal", lambda: 0)  # There would be no way back for this process.
    try:
        memory.keep_loaded_shared()
        assert gc.get_freeze_count() > 50_000
    finally:
        gc.unfreeze()
