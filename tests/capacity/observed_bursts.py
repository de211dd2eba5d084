"""Bursts on a real Kubernetes, as tests/cluster/test_autoscaling.py wrote them down, and their simulation.

    python -m tests.capacity.observed_bursts   # how far off the simulation is, as a table

Receivers, PostgreSQL, RabbitMQ, the senders and the control plane shared two cores with the workers. What was left for
workers is what the autoscaler saw them use after the sending; what a delivery cost the others is a constant, fitted to
an earlier burst. Nobody wrote down when each delivery came: what waited, ran and had ended is known of every look. Of
older files what had ended is not, and is taken as a straight line up to the end of the sending.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from workers.capacity.autoscaler import Cpu
from workers.capacity.given import BASE
from workers.capacity.jobs import Arrival, Handlers, Jobs, jobs_of
from workers.capacity.policies import Scaling, named
from workers.capacity.results import Moment, Result
from workers.capacity.simulation import Setup, Simulation

FOLDER = Path(__file__).parent / "observed"
FILES = sorted(FOLDER.glob("*.json"))
SPARE_CORES = 1.4
"""What was left for workers on a quiet machine, where handlers did not compute."""
BESIDE_CPU_SECONDS = 0.0018
"""What each delivery cost its sender, the receivers, PostgreSQL and RabbitMQ."""
SEEDS = (1, 2, 3, 4, 5)
"""How the intervals of autoscaler, metrics-server and Prometheus lie to the burst is not known: the median counts."""
MOST_WORKERS, READY = "most workers", " are ready"


@dataclass(frozen=True)
class Observed:
    """A burst."""

    name: str
    facts: dict[str, Any]

    @classmethod
    def of(cls, file: Path) -> "Observed":
        return cls(file.stem, json.loads(file.read_text()))

    def points(self, name: str) -> Sequence[tuple[float, float]]:
        began_at = self.facts["began_at"]
        return [(at - began_at, value) for at, value in self.facts["points"][name]]

    @property
    def deliveries(self) -> int:
        return int(self.facts["deliveries"])

    @property
    def sent_at(self) -> float:
        """When the last delivery was sent; where it was not written down, when the most waited."""
        return float(self.facts.get("sent_at") or max(self.points("waiting"), key=lambda point: point[1])[0])

    @property
    def drained_at(self) -> float:
        """When nothing waited or ran any more."""
        busy = [at for name in ("waiting", "running") for at, value in self.points(name) if value]
        return float(self.facts.get("drained_at") or max(busy))

    @property
    def cores(self) -> float:
        """What the workers used together while they did nothing but compute: that was what was left for them."""
        if not self.computes:
            return SPARE_CORES
        # The files have percents of the target, which is in percents of the request.
        [cpu] = [metric for metric in self.scaling.metrics if isinstance(metric, Cpu)]
        target = cpu.percent / 100 * cpu.request_cores / 100
        looks = zip(self.points("CPU"), self.points("ready"), strict=True)
        return mean(
            percent * target * ready for (at, percent), (_, ready) in looks if self.sent_at < at < self.drained_at
        )

    @property
    def computes(self) -> bool:
        return bool(self.facts["action"] == "compute")

    @property
    def scaling(self) -> Scaling:
        return named(self.facts["policy"], like=BASE.scaling, request_cores=BASE.kind.request_cores)

    @cached_property
    def jobs(self) -> Jobs:
        handlers = Handlers({"": [float(self.facts["seconds"])]}, cpu_share=1.0 if self.computes else 0.0)
        return jobs_of(map(Arrival, self._arrivals()), handlers, chance=random.Random(1))

    def _arrivals(self) -> Iterator[float]:
        """Yield when each delivery came, evenly between two looks."""
        come, before = 0, 0.0
        for at, count in self._come():
            for number in range(count - come):
                yield before + (at - before) * number / (count - come)
            come, before = max(come, count), at

    def _come(self) -> Iterator[tuple[float, int]]:
        """Yield how many had come at each look."""
        sent_at = self.sent_at
        waiting, running = (dict(self.points(name)) for name in ("waiting", "running"))
        looks = [at for at in waiting if at < sent_at]
        if "finished" in self.facts["points"]:
            ended = dict(self.points("finished"))
        else:
            left = max(0.0, self.deliveries - waiting[looks[-1]] - running[looks[-1]])
            ended = {at: left * at / sent_at for at in looks}
        for at in looks:
            yield at, min(self.deliveries, int(waiting[at] + running[at] + ended[at]))
        yield sent_at, self.deliveries

    def simulated(self) -> list[Result]:
        setup = Setup(kind=BASE.kind, cores=self.cores, beside_cpu_seconds=BESIDE_CPU_SECONDS)
        return [Simulation(self.jobs, replace(setup, seed=seed), self.scaling).run() for seed in SEEDS]


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure, as it was observed and as it was simulated."""

    what: str
    observed: float
    simulated: float

    @property
    def error(self) -> float:
        """How far off the simulation is, as a share of what was observed."""
        return abs(self.simulated - self.observed) / self.observed


def compare(burst: Observed) -> list[Compared]:
    """Return the figures that a plan gives, side by side; of the simulation the median over the seeds."""
    results = burst.simulated()
    observed = [Moment(at, int(wanted), int(ready), 0, 0, 0.0) for at, wanted, ready in _workers(burst)]
    waiting = max(value for _, value in burst.points("waiting"))
    end = min(observed[-1].at, *(result.moments[-1].at for result in results))
    hours = median(_hours(result.moments, end) for result in results)
    return [
        Compared(MOST_WORKERS, max(moment.wanted for moment in observed), median(r.most_replicas for r in results)),
        Compared("jobs waiting at most", waiting, median(result.most_waiting for result in results)),
        Compared("seconds until all is done", burst.drained_at, median(result.drained_at for result in results)),
        Compared("replica-hours", _hours(observed, end), hours),
        *_growth(observed, [result.moments for result in results]),
    ]


def _growth(observed: Sequence[Moment], simulated: Sequence[Sequence[Moment]]) -> Iterator[Compared]:
    """Yield when each number of workers was ready first, if it was so in both."""
    for count in range(2, max(moment.ready for moment in observed) + 1):
        [at], reached = _reached([observed], count), _reached(simulated, count)
        if len(reached) > len(simulated) / 2:
            yield Compared(f"seconds until {count}{READY}", at, median(reached))


def _reached(runs: Sequence[Sequence[Moment]], count: int) -> list[float]:
    """Return when so many were ready first, of each run in which they were."""
    firsts = (next((moment.at for moment in run if moment.ready >= count), None) for run in runs)
    return [at for at in firsts if at is not None]


def _workers(burst: Observed) -> Iterator[tuple[float, float, float]]:
    for (at, wanted), (_, ready) in zip(burst.points("wanted"), burst.points("ready"), strict=True):
        yield at, wanted, ready


def _hours(moments: Sequence[Moment], end: float) -> float:
    within = [moment for moment in moments if moment.at <= end]
    return sum(a.wanted * (b.at - a.at) for a, b in pairwise(within)) / 3600


def main() -> None:
    for file in FILES:
        print(f"\n{file.stem:<28}{'observed':>12}{'simulated':>12}{'error':>9}")
        for each in compare(Observed.of(file)):
            print(f"{each.what:<28}{each.observed:>12,.2f}{each.simulated:>12,.2f}{each.error:>9.0%}")


if __name__ == "__main__":
    main()
