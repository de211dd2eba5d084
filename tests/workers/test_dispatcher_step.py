"""How the worker's parent keeps its dispatcher going, with processes that only sleep in the dispatcher's place."""

import errno
import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.processes import free_port
from workers.dispatcher import step
from workers.dispatcher.step import DispatcherStep
from workers.runs import channels
from workers.runs.limits import Limits
from workers.runs.messages import ChildEnded


class Parent:
    """A worker's parent process as far as the step knows it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.fork_fails = False
        self.now = 0.0
        monkeypatch.setattr("workers.dispatcher.step.os.fork", self.fork)
        monkeypatch.setattr("workers.dispatcher.step.atexit.register", lambda *_: None)
        monkeypatch.setattr("workers.dispatcher.step.turn.prepare", lambda *_: None)
        monkeypatch.setattr("workers.dispatcher.step.start_thread", lambda *_: None)
        monkeypatch.setattr("workers.stopping.grace.at_exit", [])
        self.pool = SimpleNamespace(process_flush_queues=lambda child: None, _pool=[])
        worker = SimpleNamespace(concurrency=2, hostname="worker@test", pool=SimpleNamespace(_pool=self.pool))
        self.step = DispatcherStep(worker)
        self.step.create(worker)
        self.step.start(worker)
        self.limits = Limits(self.step._slots, children=set)

    def fork(self) -> int:
        if self.fork_fails:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        self.processes.append(subprocess.Popen(["sleep", "600"]))
        return self.processes[-1].pid

    def look(self) -> None:
        """Do what the thread does from time to time."""
        self.now += step.RESTART_SECONDS
        self.step._look(self.limits, self.pool, now=self.now)

    def kill_dispatcher(self) -> None:
        self.processes[-1].kill()
        os.waitid(os.P_PID, self.processes[-1].pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Parent]:
    settings.HOOKLINE_HOST, settings.HOOKLINE_PROBE_PORT = "127.0.0.1", free_port()
    settings.HOOKLINE_PROBE_PORTS = range(settings.HOOKLINE_PROBE_PORT, settings.HOOKLINE_PROBE_PORT + 1)
    parent = Parent(monkeypatch)
    yield parent
    for process in parent.processes:
        process.kill()
        process.wait(30)
    for pair in [*parent.step._pairs, parent.step._control]:
        pair.close()


@pytest.mark.parametrize("fails", ["port", "fork"])
def test_a_dispatcher_that_cannot_be_started_again_is_tried_again_and_told_once(
    fails: str, parent: Parent, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    parent.kill_dispatcher()
    with ExitStack() as meanwhile:
        if fails == "port":
            meanwhile.enter_context(socket.create_server((settings.HOOKLINE_HOST, settings.HOOKLINE_PROBE_PORT)))
        parent.fork_fails = fails == "fork"
        for _ in range(5):
            parent.look()
        parent.step.finish(1.0)  # There is none, and its number may be another process's.
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert told == ["dispatcher ended; another is started", "dispatcher not started"]
    parent.fork_fails = False
    parent.look()
    parent.look()
    assert len(parent.processes) == 2
    parent.step.finish(30.0)
    with pytest.raises(ProcessLookupError):
        os.kill(parent.processes[1].pid, 0)


def test_a_dispatcher_that_stands_still_is_killed_and_another_is_started(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parent.look()
    assert len(parent.processes) == 1, "It has just shown that it turns."
    monkeypatch.setattr(step, "SILENT_SECONDS", -1.0)
    parent.look()
    os.waitid(os.P_PID, parent.processes[0].pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(step, "SILENT_SECONDS", 600.0)
    parent.look()
    assert [record.message for record in caplog.records] == [
        "dispatcher stands still and is killed",
        "dispatcher ended; another is started",
    ]
    assert len(parent.processes) == 2


def test_the_dispatcher_is_told_how_a_child_has_ended_and_what_it_was_running(parent: Parent) -> None:
    slots = parent.step._slots
    slots.enter(1)
    running = slots.begin(1, 7, 2, pid=4321, soft_limit=1.0, hard_limit=2.0)
    slots.reach_hard_limit(1, running)

    parent.pool.process_flush_queues(SimpleNamespace(index=1, pid=4321, exitcode=-9))
    parent.pool.process_flush_queues(SimpleNamespace(index=1, pid=4322, exitcode=0))

    assert slots.read(1) is None
    assert not slots.is_in_turn(1)
    heard = list(iter(lambda: channels.take(parent.step._control.dispatcher), None))
    assert heard == [ChildEnded(1, 4321, -9, running, True), ChildEnded(1, 4322, 0, None, False)]


def test_a_dispatcher_that_reads_nothing_does_not_hold_the_parent_up(parent: Parent) -> None:
    for pid in range(1, 10_000):
        parent.pool.process_flush_queues(SimpleNamespace(index=0, pid=pid, exitcode=0))
