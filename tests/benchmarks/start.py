"""How long after its POST a delivery's handler starts, and what CPU a delivery costs in all.

    python -m tests.benchmarks.start
    python -m tests.benchmarks.start --rates 0 500 --children 16

One receiver, one relay and one worker on a PostgreSQL and a RabbitMQ of this benchmark's own, and beside `--rates`
deliveries a second, which wrk sends, twenty more a second that say when they were sent. Their handler compares that
with its own clock, which is the same: so verifying, storing, message, claim and all waiting are in it. Rate 0 is an
idle system: four a second, so far apart that no child is still in its turn for the one before, and for twice as long.
"half" is half of what the same receiver acknowledges and the worker does at once, measured just before.
"""

import argparse
import time

from tests.benchmarks.load import answered, body_of, send, send_timed, start_sending
from tests.benchmarks.process_use import cpu_by_kind
from tests.benchmarks.systems import System, by_turns
from tests.benchmarks.table import Reading, Table, options
from tests.support.processes import wait_until
from tests.support.stack import Stack
from webhooks.github.sender import percentile

SYSTEMS = ("hookline", "baseline")
TIMED_A_SECOND, ALONE_A_SECOND = 20.0, 4.0
CONNECTIONS = 16


def main() -> None:
    parser = options(__doc__, systems=SYSTEMS, seconds=8, rounds=3)
    parser.add_argument("--rates", nargs="+", default=["0", "100", "half"], metavar="RATE")
    parser.add_argument("--children", type=int, default=70)
    told = parser.parse_args()
    table = Table("From the POST to the handler's start, and CPU a delivery, in ms")

    def all_rates(name: str, system: System) -> None:
        with system.installed() as stack:
            system.start_receiver(stack)
            system.start_worker(stack, told.children)
            send_timed(stack, seconds=1, a_second=TIMED_A_SECOND)
            for rate in told.rates:
                line = {"0": "idle", "half": "half of the most"}.get(rate, f"{rate} a second")
                table.add(f"{name}, {line}", measure(system, stack, told, rate))

    by_turns(told, all_rates)
    table.print()


def measure(system: System, stack: Stack, told: argparse.Namespace, rate: str) -> Reading:
    beside = half_of_most(system, stack, seconds=told.seconds / 2) if rate == "half" else float(rate)
    seconds, timed = (told.seconds, TIMED_A_SECOND) if beside else (2 * told.seconds, ALONE_A_SECOND)
    wait_until_done(system, stack)
    earlier, before, began = len(system.results(stack)), cpu_by_kind(stack), time.monotonic()
    if beside:
        wrk = start_sending(stack, body_of(), seconds=seconds, connections=CONNECTIONS, a_second=beside)
    send_timed(stack, seconds=seconds, a_second=timed)
    sent = (answered(wrk).acknowledged if beside else 0) + round(seconds * timed)
    after, taken = cpu_by_kind(stack), time.monotonic() - began
    wait_until_done(system, stack)
    waited = sorted(system.results(stack)[earlier:])
    used = {kind: after[kind] - before[kind] for kind in after}
    return {
        "deliveries/s": sent / taken,
        "p50": percentile(waited, 0.5),
        "p99": percentile(waited, 0.99),
        "max": waited[-1],
        "CPU in all": 1000 * sum(used.values()) / sent,
        **{kind: 1000 * cpu / sent for kind, cpu in used.items()},
    }


def half_of_most(system: System, stack: Stack, *, seconds: float) -> float:
    """Return half of the deliveries a second that are acknowledged and of those that are done at once."""
    done = system.done(stack)
    answers = send(stack, body_of(), seconds=seconds, connections=CONNECTIONS)
    return min(answers.acknowledged, system.done(stack) - done) / answers.seconds / 2


def wait_until_done(system: System, stack: Stack) -> None:
    wait_until(lambda: not system.waits(stack), seconds=600, what="all jobs to be done")


if __name__ == "__main__":
    main()
