"""What came of a simulation: waits, the size of the fleet and its cost, and the runs that were interrupted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from workers.capacity.simulation import Simulation

HOUR = 3600.0


class Holder(StrEnum):
    """What keeps waiting jobs from running."""

    CORES = "cores"
    START = "start of pods"
    MOST = "most replicas"
    AUTOSCALER = "autoscaler"


class Moment(NamedTuple):
    """The fleet and its work at a moment."""

    at: float
    wanted: int
    ready: int
    waiting: int
    running: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One policy's result."""

    name: str
    least: int
    jobs: int
    unfinished: int
    """How many jobs had not ended when the simulation was given up."""
    p50: float
    p99: float
    longest: float
    """Seconds from a job's arrival until its first run begins."""
    most_waiting: int
    most_replicas: int
    seconds: float
    """How long the simulation went on: until all is done, and the fleet as small as at the beginning."""
    drained_at: float
    replica_seconds: float
    interrupted: int
    held: Mapping[Holder, float]
    """For how long what kept waiting jobs from running."""
    moments: Sequence[Moment]

    @classmethod
    def of(cls, simulation: "Simulation") -> "Result":
        # What never ran has waited until the end.
        each = zip(simulation.waits, simulation.jobs.at, strict=True)
        waits = sorted(simulation.now - at if math.isnan(wait) else wait for wait, at in each)
        return cls(
            name=simulation.scaling.name,
            least=simulation.scaling.least,
            jobs=len(waits),
            unfinished=len(waits) - simulation.finished,
            p50=quantile(waits, 0.5),
            p99=quantile(waits, 0.99),
            longest=quantile(waits, 1.0),
            most_waiting=simulation.most_waiting,
            most_replicas=max(moment.wanted for moment in simulation.moments),
            seconds=simulation.now,
            drained_at=simulation.drained_at,
            replica_seconds=sum(
                min(pod.gone_at, simulation.now) - max(pod.created_at, 0.0) for pod in simulation.every_pod
            ),
            interrupted=simulation.interrupted,
            held=dict(simulation.held),
            moments=simulation.moments,
        )

    def replica_hours(self, *, seconds: float) -> float:
        """Return what the fleet costs over a time that is as long as this one or longer; at its end it is at its least.

        So policies are compared over the same time.
        """
        return (self.replica_seconds + self.least * (seconds - self.seconds)) / HOUR

    @property
    def holder(self) -> Holder | None:
        """What kept waiting jobs from running for the longest time; None if none waited."""
        return max(self.held, key=lambda holder: self.held[holder], default=None)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed; 0 without any."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
