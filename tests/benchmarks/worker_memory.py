"""What a worker of 1, 8 and 70 children holds in memory, before and after what is done about it, and over many jobs.

    python -m tests.benchmarks.worker_memory
    python -m tests.benchmarks.worker_memory --children 12 --orm --variants all
    python -m tests.benchmarks.worker_memory --children 70 --jobs 100000 --variants after

Starts a PostgreSQL and a RabbitMQ of its own, a relay, and for each line a real `manage.py worker`; reads the
proportional set size of the parent and all below it once all are there, while they work, and after the jobs. The jobs
are long enough to keep all children busy, since one that has run nothing has written to nothing. What was done about
memory is undone for a line by `worker_start/sitecustomize.py`; the command is the same.

A page that n processes share counts 1/n in each of them, so the sum is what the pod holds. "anon" is the part of it
that no file backs, which the kernel can never take back.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass, field

from tests.benchmarks.load import body_of
from tests.benchmarks.process_use import Memory, cpu_seconds, memory_of
from tests.benchmarks.systems import fill, installation, servers, start_worker
from tests.support.processes import ROOT
from tests.support.stack import Stack

AT_START = ROOT / "tests" / "benchmarks" / "worker_start"
READINGS = 8
"""How often memory is read while the jobs run."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the worker: what is changed at the start of each of its processes, and its environment."""

    at_start: str = ""
    """A name in `worker_start/sitecustomize.py`."""
    environment: dict[str, str] = field(default_factory=dict)


VARIANTS = {
    "before": Variant("not connected"),
    "after": Variant(),
    "no warm-up": Variant("no warm-up"),
    "warm-up of 1 run": Variant("warm-up of 1 run"),
    "warm-up of 5 runs": Variant("warm-up of 5 runs"),
    "no GSS": Variant(environment={"PGGSSENCMODE": "disable"}),
    "no immortals": Variant("no immortals"),
    "no collect": Variant("no collect"),
    "no freeze": Variant("no freeze"),
    "gc off until then": Variant("gc off until then"),
    "lean apps": Variant("lean apps"),
    "one malloc arena": Variant(environment={"MALLOC_ARENA_MAX": "1"}),
    "trim at 64 KB": Variant(environment={"MALLOC_TRIM_THRESHOLD_": "65536"}),
    "PYTHONMALLOC=malloc": Variant(environment={"PYTHONMALLOC": "malloc"}),
}


def main() -> None:
    options = read_options()
    print(HEAD)
    with servers() as (database, broker):
        for children in options.children:
            for name in options.variants:
                line(name, children=children, options=options, database=database, broker=broker)


HEAD = (
    f"{'variant':<22}{'children':>9}{'at start':>10}{'after':>8}{'highest':>9}{'anon':>8}{'parent':>8}{'child':>7}"
    f"{'jobs':>9}{'jobs/s':>8}{'cores':>7}  over the jobs"
)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, nargs="+", default=[1, 8, 70])
    parser.add_argument("--jobs", type=int, help="for each line; 40 for each child by default")
    parser.add_argument("--work", type=float, default=0.25, metavar="SECONDS", help="how long a job sleeps")
    parser.add_argument("--orm", action="store_true", help="have the handler use Django's ORM, too")
    parser.add_argument("--variants", nargs="+", default=["before", "after"], choices=[*VARIANTS, "all"])
    options = parser.parse_args()
    if "all" in options.variants:
        options.variants = list(VARIANTS)
    return options


def line(name: str, *, children: int, options: argparse.Namespace, database: str, broker: str) -> None:
    """Run one variant with so many children, and print what it held."""
    jobs = options.jobs or 40 * children
    variant = VARIANTS[name]
    start = {"PYTHONPATH": f"{AT_START}{os.pathsep}{ROOT}", "BENCHMARK_AT_START": variant.at_start}
    with installation(database, broker, **start, **variant.environment) as stack:
        parent = start_worker(stack, children)
        at_start = memory_of(parent)
        body = body_of(seconds_of_work=options.work, orm=options.orm)
        fill(stack, body, jobs=jobs, handler="trial.work" if options.orm else "timed.sleep")
        began, cpu = time.monotonic(), cpu_seconds([parent])
        stack.start("relay")
        readings = watch(stack, parent, jobs)
        seconds, cpu = time.monotonic() - began, cpu_seconds([parent]) - cpu
        after = memory_of(parent)
        idle = children - ran(stack)
    highest = max(reading.total for reading in readings)
    print(
        f"{name:<22}{children:>9}{at_start.total:>10.0f}{after.total:>8.0f}{highest:>9.0f}{after.anonymous:>8.0f}"
        f"{after.parent:>8.1f}{after.child:>7.1f}{jobs:>9,}{jobs / seconds:>8.0f}{cpu / seconds:>7.2f}  "
        + " ".join(f"{reading.total:.0f}" for reading in readings)
        + (f"  ({idle} children ran nothing)" if idle > 0 else ""),
        flush=True,
    )


def watch(stack: Stack, parent: int, jobs: int) -> list[Memory]:
    """Read the memory now and then until all jobs are done."""
    readings: list[Memory] = []
    while (done := stack.states()["succeeded"]) < jobs:
        if done * READINGS >= jobs * len(readings) and done:
            readings.append(memory_of(parent))
            print(f"  {done:,} jobs: {readings[-1].total:.0f} MB", file=sys.stderr, flush=True)
        time.sleep(0.2)
    return [*readings, memory_of(parent)]


def ran(stack: Stack) -> int:
    """Return how many processes have run something."""
    ((count,),) = stack.rows("SELECT count(DISTINCT pid) FROM webhooks_attempt")
    return int(count)


if __name__ == "__main__":
    main()
