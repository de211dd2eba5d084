"""What an installation uses of the CPU while there is nothing to do, in percent of a core.

    python -m tests.benchmarks.idle
    python -m tests.benchmarks.idle --children 8 --seconds 60

One receiver, one relay and one worker on a PostgreSQL and a RabbitMQ of this benchmark's own, watched from ten seconds
after their start. "ours" is all without the servers; "pod" is the worker alone.
"""

import time

from tests.benchmarks.process_use import SERVERS, WORKER, cpu_by_kind
from tests.benchmarks.systems import System, by_turns
from tests.benchmarks.table import Reading, Table, options

SYSTEMS = ("hookline", "baseline")
SETTLE_SECONDS = 10.0


def main() -> None:
    parser = options(__doc__, systems=SYSTEMS, seconds=15, rounds=1)
    parser.add_argument("--children", type=int, default=70)
    told = parser.parse_args()
    table = Table(f"Idle, with {told.children} children: percent of a core")
    by_turns(told, lambda name, it: table.add(name, measure(it, children=told.children, seconds=told.seconds)))
    table.print()


def measure(system: System, *, children: int, seconds: float) -> Reading:
    with system.installed() as stack:
        system.start_receiver(stack)
        system.start_worker(stack, children)
        time.sleep(SETTLE_SECONDS)
        before, began = cpu_by_kind(stack), time.monotonic()
        time.sleep(seconds)
        after, seconds = cpu_by_kind(stack), time.monotonic() - began
        percent = {kind: 100 * (after[kind] - before[kind]) / seconds for kind in after}
        return {
            "ours": sum(used for kind, used in percent.items() if kind not in SERVERS.values()),
            "pod": sum(used for kind, used in percent.items() if kind in WORKER),
            **percent,
        }


if __name__ == "__main__":
    main()
