"""What arrives: when, and how long each handler computes and waits. Made of measured values, or of given ones."""

import math
import random
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MOST_JOBS = 1_000_000
"""More than this a simulation takes too long for."""

VARIES = 0.02
"""Each wait is shorter by up to this share. Without it, jobs of one given time that began together would end together
each time, and the next ones begin together: they would share commits that real ones do not share."""


class PlanError(Exception):
    """The values cannot be planned with; the text says in one sentence which."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """Three numbers a job, in the order of arrival."""

    at: "array[float]"
    """Seconds since the beginning."""
    cpu_seconds: "array[float]"
    """For how long the handler computes, on a core of its own."""
    wait_seconds: "array[float]"
    """For how long it waits for others then."""

    def __len__(self) -> int:
        return len(self.at)

    @property
    def longest_seconds(self) -> float:
        return max(map(sum, zip(self.cpu_seconds, self.wait_seconds, strict=True)), default=0.0)

    def lasting_more_than(self, seconds: float) -> int:
        """Return how many handlers take longer than this, with a core of their own."""
        each = zip(self.cpu_seconds, self.wait_seconds, strict=True)
        return sum(1 for cpu, wait in each if cpu + wait > seconds)


@dataclass(frozen=True, slots=True)
class Handlers:
    """How long handlers run, by name, in seconds: measured runs, or one value for all under the name ""."""

    seconds: Mapping[str, Sequence[float]]
    cpu_share: float
    """Which part of its time a handler computes."""

    def of_all(self) -> Sequence[float]:
        return [each for runs in self.seconds.values() for each in runs]


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a job arrives, in seconds since the beginning, and for which handler, if that is known."""

    at: float
    handler: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """A burst, on top of a rate."""

    burst: int = 0
    over_seconds: float = 60.0
    rate: float = 0.0
    seconds: float = 1800.0
    """For how long the rate goes on."""
    burst_at: float = 0.0


def synthetic(wanted: Synthetic, *, times: float, chance: random.Random) -> list[Arrival]:
    """Return its arrivals: those of the burst evenly, those of the rate at random. Raises PlanError."""
    refuse_too_many((wanted.burst + wanted.rate * wanted.seconds) * times)
    count, rate = round(wanted.burst * times), wanted.rate * times
    moments = [wanted.burst_at + number * wanted.over_seconds / count for number in range(count)]
    at = chance.expovariate(rate) if rate else math.inf
    while at < wanted.seconds:
        moments.append(at)
        at += chance.expovariate(rate)
    return [Arrival(at) for at in sorted(moments)]


def multiplied(trace: Sequence[Arrival], *, times: float, chance: random.Random) -> list[Arrival]:
    """Return a trace with so many times as many jobs: 2.5 doubles each, and one in two once more. Raises PlanError.

    Copies come a little later, up to a second, since doubles of one moment would be a burst of their own.
    """
    refuse_too_many(len(trace) * times)
    found = []
    for arrival in trace:
        copies = math.floor(times) + (chance.random() < times % 1)
        found += [Arrival(arrival.at + (chance.random() if copy else 0.0), arrival.handler) for copy in range(copies)]
    return sorted(found, key=lambda arrival: arrival.at)


def refuse_too_many(count: float) -> None:
    if count > MOST_JOBS:
        raise PlanError(f"{count:,.0f} jobs are more than the {MOST_JOBS:,} that can be simulated.")


def jobs_of(arrivals: Iterable[Arrival], handlers: Handlers, *, chance: random.Random) -> Jobs:
    """Return the jobs: each with the time of a run of its handler, or of any handler, if none of it was measured."""
    jobs, of_all = Jobs(array("d"), array("d"), array("d")), handlers.of_all()
    for arrival in arrivals:
        seconds = chance.choice(handlers.seconds.get(arrival.handler) or of_all)
        jobs.at.append(arrival.at)
        jobs.cpu_seconds.append(seconds * handlers.cpu_share)
        jobs.wait_seconds.append(seconds * (1 - handlers.cpu_share) * (1 - VARIES * chance.random()))
    return jobs
