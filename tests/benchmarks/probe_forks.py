"""Does any child hang that a worker forks while its probes are asked? Children are recycled after a few jobs each.

    python -m tests.benchmarks.probe_forks --jobs 10000 --jobs-a-child 5 --scrapes-a-second 10

Fills a fresh PostgreSQL with jobs that do nothing, runs them on RabbitMQ in one worker, and asks its /livez and
/metrics in turn all the while. A child that hung would hold its job, and the worker's exit.
"""

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.relay_backlog import fill
from tests.support.probing import Probed
from tests.support.processes import free_port, wait_until
from tests.support.stack import running_stack


@dataclass
class Scrapes:
    """What the probes have answered."""

    answered: int = 0
    failed: int = 0
    slowest_seconds: float = 0.0
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def going_on(self, probes: Probed, *, a_second: float) -> Iterator[None]:
        thread = threading.Thread(target=self._scrape, args=(probes, 1 / a_second))
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _scrape(self, probes: Probed, pause: float) -> None:
        while not self._is_over.wait(pause):
            began = time.monotonic()
            path = ("/metrics", "/livez")[self.answered % 2]
            if probes.status(path) == 200:
                self.answered += 1
            else:
                self.failed += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)


@dataclass(frozen=True, kw_only=True)
class Report:
    states: dict[str, int]
    runs: int
    children: int
    seconds: float
    scrapes: int
    failed_scrapes: int
    slowest_scrape_seconds: float
    exit_seconds: float
    exit_status: int


def run_jobs(
    directory: Path, *, jobs: int, jobs_a_child: int, scrapes_a_second: float, children: int, patience: float = 120
) -> Report:
    """Run so many jobs and return what came of them; raise AssertionError if they do not end in time."""
    probes, scrapes = Probed(free_port()), Scrapes()
    settings = {"HOOKLINE_CHILD_MAX_JOBS": str(jobs_a_child), "HOOKLINE_PROBE_PORT": str(probes.port)}
    with running_stack(directory, database="postgres", broker="rabbitmq") as stack:
        stack.manage("migrate", "-v0")
        fill(stack, jobs)
        worker = stack.start("worker", "--concurrency", str(children), **settings)
        wait_until(probes.is_ready, what="the worker is ready")
        began = time.monotonic()
        with scrapes.going_on(probes, a_second=scrapes_a_second):
            stack.start("relay")
            wait_until(stack.is_drained, seconds=patience, what="every job to be final")
            seconds = time.monotonic() - began
        told = time.monotonic()
        worker.terminate()
        status = worker.wait(60)
        ((runs, pids),) = stack.rows("SELECT count(*), count(DISTINCT pid) FROM webhooks_attempt")
        return Report(
            states=dict(stack.states()),
            runs=runs,
            children=pids,
            seconds=round(seconds, 1),
            scrapes=scrapes.answered,
            failed_scrapes=scrapes.failed,
            slowest_scrape_seconds=round(scrapes.slowest_seconds, 3),
            exit_seconds=round(time.monotonic() - told, 2),
            exit_status=status,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--jobs-a-child", type=int, default=5)
    parser.add_argument("--scrapes-a-second", type=float, default=10)
    parser.add_argument("--children", type=int, default=8)
    parser.add_argument("--patience", type=float, default=3600, help="seconds after which a child counts as hung")
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as directory:
        report = run_jobs(Path(directory), **options)
    for name, value in asdict(report).items():
        print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
