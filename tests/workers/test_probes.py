"""A worker's probes and metrics: what they say of real workers that are idle, busy, stuck, cut off and stopping.

`watched` brings all of that about at once, since a verdict takes its time: the workers that must be found stuck tell
how long the others have to be left alone.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kombu
import pytest

from tests.apps.probed.handlers import QUEUE
from tests.benchmarks.probe_forks import run_jobs
from tests.support import services
from tests.support.brokers import repeated
from tests.support.forwarding import Line, forwarding
from tests.support.probing import Probed
from tests.support.processes import free_port, manage, wait_until
from tests.support.stack import Stack, running_stack

STALLED_SECONDS = 10
JOBS = 5 * services.repeats(40)


@dataclass
class Watched:
    """One worker, and what its probes have said."""

    probes: Probed
    process: "subprocess.Popen[bytes]"
    live: list[int] = field(default_factory=list)
    ready_while_watched: bool = True
    faults: list[str] = field(default_factory=list)
    has_started: bool = False
    is_live_again: bool = False
    is_ready_again: bool = False

    def children(self) -> list[int]:
        """Return the processes for handlers: all but the first, which serves the probes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return sorted(int(pid) for pid in children.read_text().split())[1:]


def start_worker(stack: Stack, **settings: str) -> Watched:
    port = free_port()
    process = stack.start(
        *("worker", "--concurrency", "1", "--queues", QUEUE),
        **{"HOOKLINE_PROBE_PORT": str(port), "HOOKLINE_STALLED_SECONDS": str(STALLED_SECONDS), **settings},
    )
    return Watched(Probed(port), process)


@dataclass
class Scene:
    """One installation, and its workers by what befalls them."""

    stack: Stack
    stuck: dict[str, Watched]
    lines: dict[str, Line] = field(default_factory=dict)
    cut_off: dict[str, Watched] = field(default_factory=dict)

    def befall(self) -> None:
        """Cut workers off, stop one and the child of another, and send jobs for all that are not cut off."""
        self.stack.wait_until_ready()
        for name, worker in (self.stuck | self.cut_off).items():
            begun = worker.probes.is_live if name == "broker absent" else worker.probes.is_ready
            wait_until(begun, what=f"{name}: begun")
        for each in self.lines.values():
            each.cut()
        for pid in self.stopped():
            os.kill(pid, signal.SIGSTOP)
        for _ in range(6):
            assert self.stack.send("occupy", seconds=300)[0] == 202

    def free(self) -> None:
        for each in self.lines.values():
            each.mend()
        for pid in self.stopped():
            os.kill(pid, signal.SIGCONT)

    def stopped(self) -> list[int]:
        return [self.stuck["stopped"].process.pid, *self.stuck["stopped child"].children()]


@contextlib.contextmanager
def scene(directory: Path, *, database: str, broker: str) -> Iterator[Scene]:
    """Start everything at once. The window is full as soon as the workers that are stuck have their messages."""
    settings = {"HOOKLINE_APPS": "tests.apps.probed", "HOOKLINE_QUEUE_WINDOW": "2"}
    with contextlib.ExitStack() as cleanup:
        stack = cleanup.enter_context(running_stack(directory, database=database, broker=broker, **settings))
        made = Scene(stack, {name: start_worker(stack) for name in ("busy", "stopped child", "stopped")})
        if broker == "rabbitmq":
            cleanup.callback(delete_queue)
            urls = {"broker": stack.broker_url, "database": stack.database_url, "absent": stack.broker_url}
            made.lines = {name: cleanup.enter_context(forwarding(url)) for name, url in urls.items()}
            made.lines["absent"].cut()
            made.cut_off = {
                "broker down": start_worker(stack, BROKER_URL=made.lines["broker"].url),
                "database down": start_worker(stack, DATABASE_URL=made.lines["database"].url),
                "broker absent": start_worker(stack, BROKER_URL=made.lines["absent"].url),
            }
        # Meanwhile: a worker that starts asks the database nothing.
        stack.manage("migrate", "-v0")
        stack.start("receiver")
        stack.start("relay")
        yield made


@pytest.fixture(scope="module")
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Watched]]:
    """Workers by what befell them, after those that are stuck were found out, and were then freed."""
    database, broker = request.param
    with scene(tmp_path_factory.mktemp(broker), database=database, broker=broker) as made:
        made.befall()
        workers = made.cut_off | made.stuck
        watch(workers)
        made.free()
        see_them_recover(workers)
        yield workers


def delete_queue() -> None:
    with kombu.Connection(services.RABBITMQ_URL) as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(QUEUE)


def watch(workers: dict[str, Watched]) -> None:
    """Ask all of them until every stuck one has been found out."""
    stuck = [worker for name, worker in workers.items() if name.startswith("stopped")]

    def all_found() -> bool:
        for worker in workers.values():
            worker.live.append(worker.probes.status("/livez"))
            worker.ready_while_watched = worker.probes.is_ready()
            if worker.live[-1] == 503:
                worker.faults = worker.probes.faults("/livez")
        return all(worker.live[-1] == 503 for worker in stuck)

    wait_until(all_found, seconds=90, what="the stuck workers are found out")
    for worker in workers.values():
        worker.has_started = worker.probes.status("/startupz") == 200


def see_them_recover(workers: dict[str, Watched]) -> None:
    for name, worker in workers.items():
        worker.is_live_again = wait_until(worker.probes.is_live, what=f"{name}: live again")
        worker.is_ready_again = wait_until(worker.probes.is_ready, what=f"{name}: ready again")


SERVED = pytest.param(("postgres", "rabbitmq"), id="rabbitmq", marks=[pytest.mark.postgres, pytest.mark.rabbitmq])
EMBEDDED = repeated(("sqlite", "filesystem"), id="filesystem")
every_broker = pytest.mark.parametrize("watched", [SERVED, EMBEDDED], indirect=True, scope="module")
cut_off = pytest.mark.parametrize("watched", [SERVED], indirect=True, scope="module")


@every_broker
def test_a_worker_that_is_merely_busy_stays_live_and_ready(watched: dict[str, Watched]) -> None:
    busy = watched["busy"]
    assert set(busy.live) == {200}
    assert busy.ready_while_watched


@every_broker
def test_a_worker_whose_free_process_takes_no_job_is_not_live(watched: dict[str, Watched]) -> None:
    (fault,) = watched["stopped child"].faults
    assert fault.startswith("it has taken no job for ")


@every_broker
def test_a_worker_whose_loop_stands_still_is_neither_live_nor_ready(watched: dict[str, Watched]) -> None:
    stopped = watched["stopped"]
    (fault,) = stopped.faults
    assert fault.startswith("its loop has not turned for ")
    assert not stopped.ready_while_watched


@every_broker
def test_a_worker_that_goes_on_is_live_and_ready_again(watched: dict[str, Watched]) -> None:
    for name in ("stopped child", "stopped"):
        worker = watched[name]
        assert worker.is_live_again
        assert worker.is_ready_again


@cut_off
def test_a_worker_whose_broker_is_down_stays_live_is_not_ready_and_comes_back(watched: dict[str, Watched]) -> None:
    worker = watched["broker down"]
    assert set(worker.live) == {200}
    assert not worker.ready_while_watched
    assert worker.is_ready_again


@cut_off
def test_a_worker_whose_broker_is_down_as_it_starts_is_left_to_wait_for_it(watched: dict[str, Watched]) -> None:
    worker = watched["broker absent"]
    assert worker.has_started
    assert set(worker.live) == {200}
    assert not worker.ready_while_watched
    assert worker.is_ready_again


@cut_off
def test_a_worker_whose_database_is_down_stays_live_and_ready(watched: dict[str, Watched]) -> None:
    worker = watched["database down"]
    assert set(worker.live) == {200}
    assert worker.ready_while_watched


# --- One worker's life ------------------------------------------------------------------------------------------------


def test_a_draining_worker_is_live_and_not_ready_until_it_has_gone(tmp_path: Path) -> None:
    settings = {"HOOKLINE_APPS": "tests.apps.probed"}
    with running_stack(tmp_path, database="sqlite", broker="filesystem", **settings) as stack:
        stack.migrate()
        stack.start("receiver")
        worker = start_worker(stack)
        probes = worker.probes
        stack.wait_until_ready()
        wait_until(probes.is_ready, what="the worker is ready")
        assert probes.status("/startupz") == 200
        assert probes.status("/nothing") == 404
        assert stack.send("occupy", seconds=0)[0] == 202
        succeeded = 'hookline_worker_runs_total{handler="probed.occupy",outcome="succeeded"}'
        wait_until(lambda: probes.metric(succeeded) == 1, what="the run is counted")
        assert stack.send("occupy", seconds=4)[0] == 202
        wait_until(lambda: probes.metric("hookline_worker_processes_busy") == 1, what="the process is busy")
        assert probes.metric("hookline_worker_stopping") == 0
        assert abs((probes.metric("hookline_worker_started_at_seconds") or 0) - time.time()) < 120
        assert (probes.metric("hookline_worker_stops_at_seconds") or 0) > time.time() + 1800
        worker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: probes.status("/readyz") == 503, what="the worker is not ready")
        assert probes.faults("/readyz") == ["stopping"]
        assert probes.metric("hookline_worker_stopping") == 1
        assert probes.is_live()
        assert worker.process.wait(30) == 0
        wait_until(lambda: probes.status("/livez") == 0, what="the probes end with the worker")
        assert "GET /" not in stack.logs()


@pytest.mark.slow
def test_probes_that_are_killed_come_back_and_those_of_a_killed_worker_do_not(tmp_path: Path) -> None:
    with running_stack(tmp_path, database="sqlite", broker="filesystem", HOOKLINE_APPS="tests.apps.probed") as stack:
        stack.migrate()
        worker = start_worker(stack)
        wait_until(worker.probes.is_ready, what="the worker is ready")
        children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
        killed = min(children.read_text().split(), key=int)
        os.kill(int(killed), signal.SIGKILL)
        # Not until the probes are gone: another process may answer before anybody has asked.
        wait_until(lambda: killed not in children.read_text().split(), what="the killed process is gone")
        wait_until(worker.probes.is_ready, what="the probes are back")
        worker.process.kill()
        wait_until(lambda: worker.probes.status("/livez") == 0, what="the probes end with the worker")


def test_a_worker_whose_probe_port_is_taken_says_so_and_does_not_start(tmp_path: Path) -> None:
    with forwarding("http://127.0.0.1:1") as taken:
        port = taken.url.rpartition(":")[2]
        done = manage("worker", HOOKLINE_DATA_DIR=tmp_path, HOOKLINE_PROBE_PORT=port)
    assert done.returncode != 0
    assert "HOOKLINE_PROBE_PORT: nothing can be served there (Address already in use)." in done.stderr


@pytest.mark.postgres
@pytest.mark.rabbitmq
def test_no_child_hangs_that_is_forked_while_the_probes_are_asked(tmp_path: Path) -> None:
    report = run_jobs(tmp_path, jobs=JOBS, jobs_a_child=5, scrapes_a_second=20, children=4)
    assert report.states == {"succeeded": JOBS}
    assert report.runs == JOBS
    assert report.children >= JOBS / 5 / 2
    assert report.scrapes > 0
    assert report.failed_scrapes == 0
    assert report.exit_status == 0
