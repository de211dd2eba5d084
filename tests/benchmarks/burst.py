"""A minute at three times the rate that can be sustained, and the drain after it: is anything refused or lost?

    python -m tests.benchmarks.burst
    python -m tests.benchmarks.burst --seconds 20 --children 16

One receiver, one relay and one worker on a PostgreSQL and a RabbitMQ of this benchmark's own. The rate that can be
sustained is measured first: what the worker does while wrk sends as fast as it is answered. wrk then sends three times
as many over sixty-four connections; where the receiver cannot answer so many, "sent/s" says less than "asked/s".
"lost" is what was acknowledged and has not been done at the end.
"""

import argparse
import time

from tests.benchmarks.load import body_of, send
from tests.benchmarks.systems import System, by_turns
from tests.benchmarks.table import Reading, Table, options
from tests.support.processes import wait_until

SYSTEMS = ("hookline", "baseline")
TIMES = 3
CONNECTIONS = 64


def main() -> None:
    parser = options(__doc__, systems=SYSTEMS, seconds=60, rounds=1)
    parser.set_defaults(systems=["hookline"])  # The baseline takes minutes to drain.
    parser.add_argument("--children", type=int, default=70)
    parser.add_argument("--work", type=float, default=0.02, metavar="SECONDS", help="default %(default)g")
    told = parser.parse_args()
    table = Table(f"{told.seconds:g} s at {TIMES} times the sustainable rate; latencies in ms")
    by_turns(told, lambda name, system: table.add(name, measure(system, told)))
    table.print()


def measure(system: System, told: argparse.Namespace) -> Reading:
    body = body_of(seconds_of_work=told.work)
    with system.installed() as stack:
        system.start_receiver(stack)
        system.start_worker(stack, told.children)
        first = send(stack, body, seconds=2, connections=CONNECTIONS)
        done = system.done(stack)
        calm = send(stack, body, seconds=max(5, told.seconds / 6), connections=CONNECTIONS)
        sustained = (system.done(stack) - done) / calm.seconds
        wait_until(lambda: not system.waits(stack), seconds=1800, what="the first jobs to be done")
        done = system.done(stack)
        burst = send(stack, body, seconds=told.seconds, connections=CONNECTIONS, a_second=TIMES * sustained)
        at_end, began = system.done(stack), time.monotonic()
        wait_until(lambda: not system.waits(stack), seconds=1800, what="the burst to be drained")
        drained = time.monotonic() - began
        return {
            "sustained/s": sustained,
            "asked/s": TIMES * sustained,
            "sent/s": burst.sent / burst.seconds,
            "errors": burst.errors,
            "p50": burst.p50,
            "p99": burst.p99,
            "max": burst.most,
            "jobs/s in it": (at_end - done) / burst.seconds,
            "jobs/s after": (system.done(stack) - at_end) / drained,
            "lost": max(0, sum(one.acknowledged for one in (first, calm, burst)) - system.done(stack)),
        }


if __name__ == "__main__":
    main()
