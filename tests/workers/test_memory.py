"""What a worker does before it forks: children of a real worker tell what they started with."""

import gc
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connection

from tests.support.processes import OUTSIDE, wait_until
from tests.support.stack import Stack, running_stack
from webhooks.inbox import transitions
from webhooks.models import Job, Source
from webhooks.states import JobState
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
        stack.migrate()
        stack.start("receiver")
        stack.start("worker", "--concurrency", "1")
        stack.wait_until_ready()
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


def test_what_a_worker_warms_up_with_is_rolled_back(stack: Stack, told: list[dict[str, Any]]) -> None:
    ((jobs, sources, latest_id),) = stack.rows(
        "SELECT count(*), (SELECT count(*) FROM webhooks_source), max(id) FROM webhooks_job"
    )
    assert (jobs, sources) == (len(told), 1)
    # PostgreSQL does not take back the ids of what is rolled back: they tell that there were such jobs.
    assert latest_id > memory.WARM_UP_RUNS


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_warm_up_claims_and_records_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[JobState | None] = []

    def record(*args: Any, **options: Any) -> None:
        recorded.append(transitions.record(*args, **options))

    monkeypatch.setattr(memory, "record", record)
    memory.warm_up()
    assert recorded == [JobState.SUCCEEDED] * (memory.WARM_UP_RUNS if connection.vendor == "postgresql" else 0)
    assert connection.vendor != "postgresql" or connection.connection is None
    assert not Source.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_worker_that_cannot_warm_up_says_so_and_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def claim(*_args: Any, **_options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT from_what_is_not_there()")

    monkeypatch.setattr(memory, "claim", claim)
    memory.warm_up()
    assert [record.message for record in caplog.records if record.name == memory.__name__] == (
        ["warm-up failed; the children will use more memory"] if connection.vendor == "postgresql" else []
    )
    assert not Source.objects.exists()


def test_the_garbage_collector_does_not_look_at_what_was_there_before_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "warm_up", lambda: None)
    monkeypatch.setattr(memory, "make_immortal", lambda: 0)  # There would be no way back for this process.
    try:
        memory.keep_loaded_shared()
        assert gc.get_freeze_count() > 50_000
    finally:
        gc.unfreeze()
