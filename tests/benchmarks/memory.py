"""What a receiver holds in memory over very many requests, and a pod of seventy children at work.

    python -m tests.benchmarks.memory
    python -m tests.benchmarks.memory --requests 1000000 --systems hookline

On a PostgreSQL and a RabbitMQ of this benchmark's own. A receiver is read when it is ready and after each fifth of the
requests, which wrk sends over sixty-four connections: its largest process. A worker is read once all its children are
there, and while they work: all of it. `worker_memory` and `role_memory` look at more. A MB is 2²⁰ bytes.
"""

from tests.benchmarks.load import body_of, send
from tests.benchmarks.process_use import memory_of, pss
from tests.benchmarks.systems import System, by_turns
from tests.benchmarks.table import Reading, Table, options
from tests.faults.process_tree import descendants_of
from tests.support.processes import wait_until

SYSTEMS = ("hookline", "baseline")
PARTS = 5
SECONDS_OF_WORK = 0.1


def main() -> None:
    parser = options(__doc__, systems=SYSTEMS, seconds=5, rounds=1)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--children", type=int, default=70)
    told = parser.parse_args()
    receivers = Table(f"A receiver over {told.requests:,} requests, MB of its largest process")
    pods = Table(f"A worker of {told.children} children, MB")

    def both(name: str, system: System) -> None:
        receivers.add(name, receiver(system, requests=told.requests, seconds=told.seconds))
        pods.add(name, pod(system, children=told.children))

    by_turns(told, both)
    receivers.print()
    pods.print()


def receiver(system: System, *, requests: int, seconds: float) -> Reading:
    with system.installed() as stack:
        system.start_receiver(stack)
        pid = stack.processes[-1][1].pid

        def held() -> float:
            return max(pss(one)[0] for one in [pid, *descendants_of(pid)])

        readings, sent = {"at start": held()}, 0
        for part in range(1, PARTS + 1):
            while sent < requests * part / PARTS:
                sent += send(stack, body_of(), seconds=seconds, connections=64).acknowledged
            readings[f"{part}/{PARTS}"] = held()
        return readings | {"requests": sent}


def pod(system: System, *, children: int) -> Reading:
    with system.installed() as stack:
        parent = system.start_worker(stack, children)
        at_start = memory_of(parent)
        system.fill(stack, jobs=40 * children, seconds_of_work=SECONDS_OF_WORK)
        wait_until(lambda: system.done(stack) >= 20 * children, what="half of the jobs to be done")
        at_work = memory_of(parent)
        return {
            "at start": at_start.total,
            "at work": at_work.total,
            "parent": at_work.parent,
            "a child": at_work.child,
        }


if __name__ == "__main__":
    main()
