"""One parent of 70 children against two of 35 in a pod: how many jobs a second, and in how much memory.

    python -m tests.benchmarks.worker_parents
    python -m tests.benchmarks.worker_parents --rounds 5 --seconds 20

Starts a PostgreSQL and a RabbitMQ (quorum queues) of its own, and in turn one worker of 70 and two of 35, which run
jobs of 20 ms for some seconds; several rounds, so that what else the machine does meets both. A worker starts on a full
window, and the relay keeps it full. Prints the medians.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.load import body_of
from tests.benchmarks.process_use import cpu_seconds, memory_of
from tests.benchmarks.systems import fill, installation, servers, start_worker

WAYS = {"1 parent of 70": (70,), "2 parents of 35": (35, 35)}
JOBS_A_SECOND = 3500
"""More than this machine runs, so that the inbox does not run dry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one way did in one round."""

    jobs_a_second: float
    memory_mb: float
    parents_cores: float
    all_cores: float


def main() -> None:
    options = read_options()
    rounds: dict[str, list[Round]] = {name: [] for name in WAYS}
    with servers() as (database, broker):
        for _ in range(options.rounds):
            for name, sizes in WAYS.items():
                rounds[name].append(run(sizes, options, database=database, broker=broker))
                print(f"{name:<16} {medians(rounds[name][-1:])}", flush=True)
    for name, seen in rounds.items():
        print(f"{name:<16} {medians(seen)}  (medians of {len(seen)})")


def medians(rounds: Sequence[Round]) -> str:
    per_job = [1000 * one.all_cores / one.jobs_a_second for one in rounds]
    per_job_in_parents = [1000 * one.parents_cores / one.jobs_a_second for one in rounds]
    return (
        f"{statistics.median(one.jobs_a_second for one in rounds):6.0f} jobs/s"
        f"{statistics.median(one.memory_mb for one in rounds):7.0f} MB"
        f"{statistics.median(per_job):6.1f} ms of CPU a job,"
        f"{statistics.median(per_job_in_parents):5.2f} of it in parents"
    )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--work", type=float, default=0.02, metavar="SECONDS", help="how long a job sleeps")
    return parser.parse_args()


def run(sizes: tuple[int, ...], options: argparse.Namespace, *, database: str, broker: str) -> Round:
    """Run one way for so many seconds, from a moment when it has already worked for a while."""
    with installation(database, broker) as stack:
        fill(stack, body_of(seconds_of_work=options.work), jobs=int(JOBS_A_SECOND * (options.seconds + 15)))
        stack.start("relay")
        parents = [start_worker(stack, size) for size in sizes]
        done, began = stack.states()["succeeded"], time.monotonic()
        cpu, in_parents = cpu_seconds(parents), cpu_seconds(parents, alone=True)
        time.sleep(options.seconds)
        done, seconds = stack.states()["succeeded"] - done, time.monotonic() - began
        cpu, in_parents = cpu_seconds(parents) - cpu, cpu_seconds(parents, alone=True) - in_parents
        assert not stack.is_drained(), "the inbox ran dry"
        return Round(
            jobs_a_second=done / seconds,
            memory_mb=sum(memory_of(parent).total for parent in parents),
            parents_cores=in_parents / seconds,
            all_cores=cpu / seconds,
        )


if __name__ == "__main__":
    main()
