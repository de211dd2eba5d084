"""A worker with nothing that only Linux has: what is left of it on macOS."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import free_port, wait_until
from tests.support.stack import Stack, running_stack
from tests.support.without_linux import without_linux

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc itself")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("without-linux")
    with running_stack(directory, database="sqlite", broker="filesystem", **without_linux()) as stack:
        stack.migrate()
        stack.start("receiver")
        stack.start("relay")
        stack.wait_until_ready()
        yield stack


class Worker:
    """A worker of two children, which has begun to consume."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.process = stack.start("worker", "--concurrency", "2", HOOKLINE_PROBE_PORT=str(free_port()))
        self.log_file = stack.directory / f"worker-{len(stack.processes) - 1}.log"
        wait_until(lambda: " ready." in self.log(), what="the worker to consume")

    def log(self) -> str:
        return self.log_file.read_text()

    def children(self) -> list[int]:
        """Return the ids of the process for its probes, which it starts first, and of those for handlers."""
        task = Path(f"/proc/{self.process.pid}/task")
        return sorted(int(pid) for thread in task.iterdir() for pid in (thread / "children").read_text().split())


def sent(stack: Stack, action: str, **payload: Any) -> str:
    """Send a delivery; return the SQL that selects its job's state."""
    return of_delivery(stack.send(action, **payload)[1]["delivery"])


def of_delivery(delivery: int) -> str:
    return f"SELECT state FROM webhooks_job WHERE delivery_id = {delivery}"


def wait_for(stack: Stack, query: str, state: str) -> None:
    wait_until(lambda: stack.rows(query) == [(state,)], what=f"the job to be {state}")


def test_it_says_once_what_cannot_be_had_there_runs_a_job_and_stops_warmly(stack: Stack) -> None:
    worker = Worker(stack)
    wait_for(stack, sent(stack, "work"), "succeeded")
    running = sent(stack, "watch")
    wait_for(stack, running, "running")
    environment = Path(f"/proc/{worker.process.pid}/environ").read_text()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=60) == 0
    assert stack.rows(running) == [("succeeded",)]
    assert len(re.findall("not on Linux", worker.log())) == 1
    assert len(re.findall("OBJC_DISABLE_INITIALIZE_FORK_SAFETY=YES", environment)) == 1
    assert "Traceback" not in worker.log()


@pytest.mark.slow
def test_a_handler_that_outlives_the_grace_is_interrupted_and_its_job_handed_back(stack: Stack) -> None:
    stack.environment["HOOKLINE_GRACE_SECONDS"] = "5"
    worker = Worker(stack)
    del stack.environment["HOOKLINE_GRACE_SECONDS"]
    running = sent(stack, "work", seconds=7.9)
    wait_for(stack, running, "running")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=60) == 0
    assert stack.rows(running) == [("retrying",)]
    assert "Traceback" not in worker.log()


@pytest.mark.slow
def test_a_killed_child_is_replaced_and_a_killed_worker_takes_its_children_along(stack: Stack) -> None:
    worker = Worker(stack)
    delivery = stack.send("work", seconds=7.9)[1]["delivery"]
    [killed] = wait_until(lambda: stack.running_pids([delivery]), what="the handler to run")
    os.kill(killed, signal.SIGKILL)
    wait_for(stack, of_delivery(delivery), "retrying")
    wait_for(stack, sent(stack, "work"), "succeeded")
    wait_until(lambda: len(worker.children()) == 3, what="the dispatcher and two children")
    children = worker.children()
    assert killed not in children
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), what="the children to have ended")
