"""The HorizontalPodAutoscaler's algorithm: from metrics to a number of replicas. Values in, values out.

The rules are those of Kubernetes 1.34 (pkg/controller/podautoscaler); numbers are the controller's defaults. A metric
without a value asks for nothing, and while one has none the fleet does not shrink.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.capacity.behavior import Behavior, Changes

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
CPU_INITIALIZATION_SECONDS = 300.0
"""So long after a pod's start its CPU counts only if it is ready, and was so during the whole of what was measured."""
INITIAL_READINESS_SECONDS = 30.0
"""A pod that is not ready, and last became so within this time of its start, was never ready."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod has used of the CPU, on average over a window that ended at a moment."""

    cores: float
    at: float
    window_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """A pod as the autoscaler sees it."""

    started_at: float
    is_running: bool = True
    """False while its container does not run."""
    is_ready: bool = True
    changed_at: float
    """When it became ready, or not ready."""
    usage: Usage | None = None
    is_stopping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that the autoscaler sees at a moment."""

    at: float
    wanted: int
    """The replicas of the Deployment's spec."""
    replicas: int
    """The pods that there are, without those that stop."""
    pods: Sequence[PodSeen]
    oldest_seconds: float | None = None
    waiting: float | None = None

    @property
    def ready(self) -> int:
        return sum(1 for pod in self.pods if pod.is_running and pod.is_ready)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far a metric may be from its target without a change."""

    up: float = TOLERANCE
    down: float = TOLERANCE

    def covers(self, ratio: float) -> bool:
        return 1 - self.down <= ratio <= 1 + self.up


class Metric(Protocol):
    """Something that the fleet is scaled by."""

    def proposed(self, seen: Seen, tolerances: Tolerances) -> int | None:
        """Return how many replicas it asks for; None if it has no value."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """The CPU of the pods, in percent of what they request."""

    percent: float
    request_cores: float

    def proposed(self, seen: Seen, tolerances: Tolerances) -> int | None:
        ready, unready, missing = grouped(seen)
        if not ready:
            return None
        ratio = self._ratio(ready)
        if not missing and not (unready and ratio > 1):
            return seen.wanted if tolerances.covers(ratio) else math.ceil(ratio * len(ready))
        # Pods of which nothing is known would use nothing if there are more, and what they request if there are fewer.
        assumed = [self.request_cores * max(100, self.percent) / 100 if ratio < 1 else 0.0] * missing * (ratio != 1)
        values = [*ready, *assumed, *([0.0] * unready if ratio > 1 else [])]
        return self._careful(ratio, self._ratio(values), len(values), seen, tolerances)

    def _careful(self, ratio: float, new_ratio: float, pods: int, seen: Seen, tolerances: Tolerances) -> int:
        """Return the number with assumed values in it: they may make a change smaller, and never turn it round."""
        if tolerances.covers(new_ratio) or (ratio < 1 < new_ratio) or (new_ratio < 1 < ratio):
            return seen.wanted
        count = math.ceil(new_ratio * pods)
        if (new_ratio < 1 and count > seen.wanted) or (new_ratio > 1 and count < seen.wanted):
            return seen.wanted
        return count

    def _ratio(self, cores: Sequence[float]) -> float:
        # Whole percents, rounded down, of whole thousandths of a core, rounded up: as the controller does.
        used = sum(math.ceil(round(each * 1000, 6)) for each in cores)
        return int(used * 100 / (round(self.request_cores * 1000) * len(cores))) / self.percent


@dataclass(frozen=True, slots=True)
class Age:
    """For how long the oldest waiting job has waited: a Value, compared with what the ready pods are."""

    seconds: float

    def proposed(self, seen: Seen, tolerances: Tolerances) -> int | None:
        if seen.oldest_seconds is None:
            return None
        ratio = seen.oldest_seconds / self.seconds
        return seen.wanted if tolerances.covers(ratio) else math.ceil(ratio * seen.ready)


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs wait: an AverageValue, so many a pod."""

    jobs: float
    most_counted: int
    """The gauge counts no more than this."""

    def proposed(self, seen: Seen, tolerances: Tolerances) -> int | None:
        if seen.waiting is None or not seen.replicas:
            return None
        waiting = min(seen.waiting, self.most_counted)
        ratio = waiting / (self.jobs * seen.replicas)
        return seen.replicas if tolerances.covers(ratio) else math.ceil(waiting / self.jobs)


class Autoscaler:
    """A HorizontalPodAutoscaler: the metric that asks for the most replicas counts."""

    def __init__(self, metrics: Sequence[Metric], *, behavior: Behavior, least: int, most: int) -> None:
        self.metrics = metrics
        up, down = behavior.up.tolerance, behavior.down.tolerance
        self._tolerances = Tolerances(TOLERANCE if up is None else up, TOLERANCE if down is None else down)
        self._changes = Changes(behavior, least, most)
        self._least, self._most = least, most

    def replicas(self, seen: Seen) -> int:
        """Return the number of replicas from now on."""
        if not self._least <= seen.wanted <= self._most:
            return min(max(seen.wanted, self._least), self._most)
        found = [metric.proposed(seen, self._tolerances) for metric in self.metrics]
        known = [count for count in found if count is not None]
        if not known or (len(known) < len(found) and max(known) < seen.wanted):
            return seen.wanted
        return self._changes.allowed(max(known), current=seen.wanted, at=seen.at)


def grouped(seen: Seen) -> tuple[list[float], int, int]:
    """Return the usage of the pods whose CPU counts, how many are not ready, and how many have no figures."""
    ready: list[float] = []
    unready = missing = 0
    for pod in seen.pods:
        if pod.is_stopping:
            continue
        if not pod.is_running:
            unready += 1
        elif pod.usage is None:
            missing += 1
        elif _is_unready(pod, pod.usage, seen.at):
            unready += 1
        else:
            ready.append(pod.usage.cores)
    return ready, unready, missing


def _is_unready(pod: PodSeen, usage: Usage, now: float) -> bool:
    if pod.started_at + CPU_INITIALIZATION_SECONDS > now:
        return not pod.is_ready or usage.at < pod.changed_at + usage.window_seconds
    return not pod.is_ready and pod.started_at + INITIAL_READINESS_SECONDS > pod.changed_at
