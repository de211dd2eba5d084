"""When a child is replaced for its memory: by what it has come to hold, however much it started with."""

import logging
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from billiard import pool
from django.conf import settings

from tests.support.processes import OUTSIDE, wait_until
from tests.support.stack import Stack, running_stack
from workers.processes import recycling


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation with one child at a time, which starts with more than it may come to hold."""
    directory = tmp_path_factory.mktemp("recycling")
    variables = {"HOOKLINE_APPS": "heavy_bot", "PYTHONPATH": str(OUTSIDE), "HOOKLINE_CHILD_RECYCLE_MB": "100"}
    with running_stack(directory, database="sqlite", broker="filesystem", **variables) as stack:
        stack.start_all(concurrency=1)
        yield stack


def pid_of(stack: Stack, action: str) -> int:
    """Have a handler run, and return the process it ran in."""
    before = len(lines(stack))
    assert stack.send(action)[0] == 202
    wait_until(lambda: len(lines(stack)) > before, what=f"the handler {action} to run")
    wait_until(stack.is_drained, what="the job to be recorded")
    return int(lines(stack)[-1].split()[1])


def lines(stack: Stack) -> list[str]:
    return stack.effects.read_text().splitlines() if stack.effects.exists() else []


def test_a_child_is_replaced_for_what_it_has_come_to_hold_and_not_for_what_it_started_with(stack: Stack) -> None:
    first = pid_of(stack, "look")
    assert pid_of(stack, "look") == first
    assert pid_of(stack, "use") == first
    assert pid_of(stack, "keep") == first
    assert pid_of(stack, "look") != first
    wait_until(lambda: "child replaced for its memory" in stack.logs(), what="the log to say so")


@pytest.mark.parametrize(("most", "is_said"), [(10_000, False), (101, True)])
def test_a_worker_says_at_its_start_that_children_would_run_out_of_memory_before_they_are_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, most: int, is_said: bool
) -> None:
    monkeypatch.setattr(settings, "HOOKLINE_CHILD_RECYCLE_MB", 100)
    monkeypatch.setattr(settings, "HOOKLINE_CHILD_MAX_MB", most)
    recycling.warn_of_little_room()
    assert [record.levelno for record in caplog.records] == ([logging.WARNING] if is_said else [])


def test_what_a_process_takes_is_growth_until_it_gives_it_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By written figures, since a process of the suite gives back what earlier tests left whenever it collects."""
    monkeypatch.setattr(pool, "mem_rss", None)
    monkeypatch.setattr(recycling, "_STATM", tmp_path / "statm")
    pages = recycling.MEGABYTE // resource.getpagesize()

    def hold(own_mb: int, shared_mb: int = 30) -> None:
        recycling._STATM.write_text(f"99999 {(own_mb + shared_mb) * pages} {shared_mb * pages} 1 0 2 0\n")

    hold(200)
    recycling.count_growth()
    grown_kb: Callable[[], int] = vars(pool)["mem_rss"]
    assert grown_kb() == 1  # Billiard takes 0 for a measure that failed.
    hold(264)
    assert grown_kb() == 64 * 1024
    hold(264, shared_mb=90)
    assert grown_kb() == 64 * 1024
    hold(150)
    assert grown_kb() == 1


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_where_there_is_no_proc_the_most_that_was_resident_is_read_in_the_systems_unit(
    platform: str, unit: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recycling, "_STATM", tmp_path / "statm")
    monkeypatch.setattr(sys, "platform", platform)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    assert most <= recycling.held_bytes() < 1.5 * most
