"""Policies side by side, and the answer: the cheapest that is fast enough, or what holds all of them back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workers.capacity.jobs import Jobs
from workers.capacity.policies import Scaling, fixed
from workers.capacity.results import Holder, Result
from workers.capacity.simulation import Setup, Simulation

MOST_TRIED = 64
"""Of so many workers at most a fixed fleet is tried, when no policy is fast enough."""
MOST_SEARCHED = 200_000
"""With more jobs than this the search would take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The results of several policies for the same jobs, and the wait that is wanted."""

    jobs: Jobs
    setup: Setup
    results: Sequence[Result]
    target_seconds: float

    @property
    def seconds(self) -> float:
        """Over how long replica-hours are counted, for every policy: the longest simulation."""
        return max(result.seconds for result in self.results)

    def hours(self, result: Result) -> float:
        return result.replica_hours(seconds=self.seconds)

    def is_fast_enough(self, result: Result) -> bool:
        return not result.unfinished and result.p99 <= self.target_seconds

    @property
    def best(self) -> Result | None:
        """The cheapest policy that is fast enough, and of equally cheap ones the fastest; None if there is none."""
        fast = [result for result in self.results if self.is_fast_enough(result)]
        return min(fast, key=lambda result: (self.hours(result), result.p99), default=None)


def compared(scalings: Sequence[Scaling], jobs: Jobs, setup: Setup, *, target_seconds: float) -> Comparison:
    """Simulate each policy."""
    results = [Simulation(jobs, setup, scaling).run() for scaling in scalings]
    return Comparison(jobs=jobs, setup=setup, results=results, target_seconds=target_seconds)


def answer(comparison: Comparison) -> str:
    """Return the answer in one or two sentences."""
    target = comparison.target_seconds
    if (best := comparison.best) is not None:
        return (
            f"{best.name} is the cheapest policy with a p99 wait within {target:g} s: {best.p99:.1f} s, with up to "
            f"{workers(best.most_replicas)} and {comparison.hours(best):.2f} replica-hours."
        )
    fastest = min(comparison.results, key=lambda result: (result.unfinished, result.p99))
    wait = "some jobs never ran" if fastest.unfinished else f"its p99 wait is {fastest.p99:.1f} s"
    return (
        f"No policy has a p99 wait within {target:g} s. The fastest is {fastest.name}: {wait}. "
        f"{_why(fastest, comparison)} {_way_out(comparison)}"
    )


def workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"


def _why(result: Result, comparison: Comparison) -> str:
    children = comparison.setup.kind.concurrency
    why = {
        Holder.CORES: f"Jobs waited mostly for the CPU: {_cores(comparison.setup)}.",
        Holder.MOST: f"Jobs waited mostly for a free child: {workers(result.most_replicas)} of {children} were busy.",
        Holder.START: "Jobs waited mostly for pods to start.",
        Holder.AUTOSCALER: "Jobs waited mostly for the autoscaler to ask for more workers.",
    }
    return why[result.holder] if result.holder else ""


def _cores(setup: Setup) -> str:
    if math.isfinite(setup.cores):
        return f"all {setup.cores:g} cores were in use"
    return f"each worker used its {setup.kind.limit_cores:g} core{'' if setup.kind.limit_cores == 1 else 's'}"


def _way_out(comparison: Comparison) -> str:
    """Say how many workers would do if they were there from the beginning."""
    if len(comparison.jobs) > MOST_SEARCHED:
        return "Try larger fleets with --policy fixed:N."
    count = smallest_fleet(comparison)
    if count is None:
        return (
            f"{workers(MOST_TRIED)} from the beginning would not be enough either: it takes more CPU, or handlers that "
            "use less."
        )
    return f"{workers(count)} from the beginning would be enough: minReplicas {count}, or --policy fixed:{count}."


def smallest_fleet(comparison: Comparison) -> int | None:
    """Return the smallest fleet of fixed size that is fast enough, or None if MOST_TRIED workers are not."""
    if not _does(MOST_TRIED, comparison):
        return None
    too_few, enough = 0, MOST_TRIED
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _does(middle, comparison):
            enough = middle
        else:
            too_few = middle
    return enough


def _does(count: int, comparison: Comparison) -> bool:
    return comparison.is_fast_enough(Simulation(comparison.jobs, comparison.setup, fixed(count)).run())
