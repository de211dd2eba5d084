"""The policies to compare: by what the fleet is scaled, within which bounds. Reads them as the command line names them.

cpu:60            CPU at 60 % of the request
age:30            the oldest waiting job no older than 30 s
depth:350         350 waiting jobs a worker
cpu:60+depth:350  both: whichever asks for more workers
fixed:3           three workers, always
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from workers.capacity.autoscaler import Age, Autoscaler, Cpu, Depth, Metric
from workers.capacity.behavior import NOT_GIVEN, Behavior
from workers.capacity.jobs import PlanError
from workers.capacity.metrics import MOST_COUNTED

MOST_WORKERS = 1_000
"""A larger fleet is not simulated."""
KINDS = ("cpu:PERCENT", "age:SECONDS", "depth:JOBS", "fixed:WORKERS")


@dataclass(frozen=True, slots=True)
class Scaling:
    """One policy."""

    name: str
    metrics: tuple[Metric, ...]
    """None for a fleet of fixed size."""
    behavior: Behavior
    least: int
    most: int
    asks_directly: bool = False
    """Whether the backlog is counted when the autoscaler asks, as KEDA does, or is scraped before."""

    def autoscaler(self) -> Autoscaler | None:
        """Return a new autoscaler; None for a fleet of fixed size."""
        if not self.metrics:
            return None
        return Autoscaler(self.metrics, behavior=self.behavior, least=self.least, most=self.most)

    @property
    def is_fixed(self) -> bool:
        return not self.metrics


def fixed(count: int) -> Scaling:
    return Scaling(f"fixed:{count}", (), NOT_GIVEN, count, count)


def named(text: str, *, like: Scaling, request_cores: float) -> Scaling:
    """Return the policy that a text names, with the bounds and the behavior of another. Raises PlanError."""
    parts = text.split("+")
    values = [_value(part, text) for part in parts]
    if any(kind == "fixed" for kind, _ in values):
        if len(values) > 1 or values[0][1] % 1 or values[0][1] > MOST_WORKERS:
            raise PlanError(
                f"--policy {text}: a fixed fleet is a whole number up to {MOST_WORKERS:,}, and nothing else."
            )
        return fixed(int(values[0][1]))
    metrics = tuple(_metric(kind, value, request_cores) for kind, value in values)
    return replace(like, name=text, metrics=metrics, asks_directly=False)


def _value(part: str, text: str) -> tuple[str, float]:
    kind, _, number = part.partition(":")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if kind not in {each.partition(":")[0] for each in KINDS} or not 0 < value < math.inf:
        raise PlanError(f"--policy {text}: give {', '.join(KINDS)}, or several of the first three with a + between.")
    return kind, value


def _metric(kind: str, value: float, request_cores: float) -> Metric:
    made: Mapping[str, Metric] = {
        "cpu": Cpu(value, request_cores),
        "age": Age(value),
        "depth": Depth(value, MOST_COUNTED),
    }
    return made[kind]
