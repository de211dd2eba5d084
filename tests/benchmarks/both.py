"""How many deliveries a second are acknowledged, and how many jobs done, if both go on at once as fast as they can.

    python -m tests.benchmarks.both
    python -m tests.benchmarks.both --children 8 --work 0

One receiver, one relay and one worker on a PostgreSQL and a RabbitMQ of this benchmark's own. wrk sends over sixteen
connections as fast as it is answered; each delivery is a job that sleeps for a while.
"""

import argparse

from tests.benchmarks.load import body_of, send
from tests.benchmarks.process_use import cpu_by_kind
from tests.benchmarks.systems import System, by_turns
from tests.benchmarks.table import Reading, Table, options

SYSTEMS = ("hookline", "baseline")


def main() -> None:
    parser = options(__doc__, systems=SYSTEMS, seconds=8, rounds=3)
    parser.add_argument("--children", type=int, default=70)
    parser.add_argument("--work", type=float, default=0.02, metavar="SECONDS", help="default %(default)g")
    parser.add_argument("--connections", type=int, default=16)
    told = parser.parse_args()
    table = Table(f"At once: {told.children} children x {1000 * told.work:g} ms; p99 and CPU a delivery in ms")
    by_turns(told, lambda name, system: table.add(name, measure(system, told)))
    table.print()


def measure(system: System, told: argparse.Namespace) -> Reading:
    with system.installed() as stack:
        system.start_receiver(stack)
        system.start_worker(stack, told.children)
        body = body_of(seconds_of_work=told.work)
        send(stack, body, seconds=2, connections=told.connections)
        before, done = cpu_by_kind(stack), system.done(stack)
        answers = send(stack, body, seconds=told.seconds, connections=told.connections)
        after, done = cpu_by_kind(stack), system.done(stack) - done
        return {
            "acks/s": answers.acknowledged / answers.seconds,
            "jobs/s": done / answers.seconds,
            "p99": answers.p99,
            "errors": answers.errors,
            **{kind: 1000 * (after[kind] - before[kind]) / answers.acknowledged for kind in after},
        }


if __name__ == "__main__":
    main()
