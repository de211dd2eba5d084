"""How many jobs a second a worker runs and records from a backlog, and what CPU a job costs in which process.

    python -m tests.benchmarks.work_off
    python -m tests.benchmarks.work_off --shapes 16x5 --seconds 20

For each shape (children x milliseconds that a handler sleeps) one worker, with a relay for Hookline's, on a PostgreSQL
and a RabbitMQ of this benchmark's own, with more jobs waiting than it can do in the time. It is measured once it has
worked for a while; every outcome is recorded.
"""

import argparse
import time

from tests.benchmarks.process_use import cpu_by_kind, memory_of
from tests.benchmarks.systems import System, servers, systems
from tests.benchmarks.table import Reading, Table, each, options
from tests.support.processes import wait_until

SYSTEMS = ("hookline", "baseline")
MOST_A_SECOND = {"hookline": 8_000, "baseline": 1_000}
"""More than it does on any machine that this is for, if its handlers do nothing."""
START_SECONDS = 4.0
"""How long a worker may have worked before it is measured."""


def shape(text: str) -> tuple[int, float]:
    children, _, milliseconds = text.partition("x")
    return int(children), float(milliseconds) / 1000


def main() -> None:
    parser = options(__doc__, systems=SYSTEMS, seconds=5, rounds=3)
    parser.add_argument("--shapes", nargs="+", type=shape, default=[shape("70x20"), shape("8x0")], metavar="70x20")
    told = parser.parse_args()
    table = Table("Worked off from a backlog; CPU a job in ms, memory of the worker in MB")
    with servers(told.broker) as (database, broker):
        available = systems(database, broker)
        for name, (children, work) in each(told.rounds, [(name, one) for one in told.shapes for name in told.systems]):
            line = f"{name}, {children} x {1000 * work:g} ms"
            table.add(line, measure(available[name], told, name=name, children=children, work=work))
    table.print()


def measure(system: System, told: argparse.Namespace, *, name: str, children: int, work: float) -> Reading:
    rate = min(MOST_A_SECOND[name], children / work if work else float("inf"))
    with system.installed() as stack:
        system.fill(stack, jobs=int(rate * (told.seconds + START_SECONDS)), seconds_of_work=work)
        parent = system.start_worker(stack, children)
        wait_until(lambda: system.done(stack) > children, what="the first jobs to be done")
        before, done, began = cpu_by_kind(stack), system.done(stack), time.monotonic()
        time.sleep(told.seconds)
        after, done, seconds = cpu_by_kind(stack), system.done(stack) - done, time.monotonic() - began
        return {
            "jobs/s": done / seconds,
            "memory": memory_of(parent).total,
            **{kind: 1000 * (after[kind] - before[kind]) / max(done, 1) for kind in after},
        }


if __name__ == "__main__":
    main()
