"""A worker's pod: its start, its children, its stop."""

import math
from dataclasses import dataclass, field
from enum import Enum

from workers.capacity.processors import Group

START_CPU_SECONDS, START_CPU_SECONDS_A_CHILD = 1.9, 0.008
"""The CPU of a worker's start, on one core: the imports and the warm-up, and the fork of each child. Measured with
`manage.py worker` of 8 and of 70 children on PostgreSQL and RabbitMQ: 1.97 and 2.48 s until its /readyz answered."""
CONTAINER_SECONDS = 3.0
"""From an autoscaler's word until the container runs, on a node that is there and has the image."""
IDLE_CORES = 0.009
"""What a worker of 70 children uses while nothing happens (docs/performance.md)."""
EXIT_SECONDS = 1.0
"""From the end of a stopping worker's last run until its pod is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodKind:
    """What the pods of a pool have in common."""

    concurrency: int
    request_cores: float = 0.25
    limit_cores: float = math.inf
    container_seconds: float = CONTAINER_SECONDS
    startup_period_seconds: float = 2.0
    readiness_period_seconds: float = 5.0
    patience_seconds: float = 85.0
    """How long a stopping worker waits for its runs before it hands them back: the grace without its margin."""

    @property
    def start_cpu_seconds(self) -> float:
        return START_CPU_SECONDS + START_CPU_SECONDS_A_CHILD * self.concurrency


class Phase(Enum):
    PENDING = "pending"
    STARTING = "starting"
    WORKING = "working"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Pod:
    """One pod."""

    kind: PodKind
    created_at: float
    group: Group
    phase: Phase = Phase.PENDING
    container_at: float = math.inf
    """When its container began to run."""
    ready_at: float = math.inf
    """When Kubernetes knows that it is ready."""
    gone_at: float = math.inf
    begun_at: float = -math.inf
    """When it began a job last."""
    running: set[int] = field(default_factory=set)
    """The jobs that its children run."""

    @property
    def is_starting(self) -> bool:
        return self.phase in (Phase.PENDING, Phase.STARTING)

    @property
    def is_wanted(self) -> bool:
        return self.phase not in (Phase.STOPPING, Phase.GONE)

    @property
    def free(self) -> int:
        return self.kind.concurrency - len(self.running) if self.phase is Phase.WORKING else 0

    def is_ready(self, at: float) -> bool:
        """Tell whether Kubernetes knows that it is ready. One that stops says that it is not."""
        return self.phase is Phase.WORKING and self.ready_at <= at

    def used(self, at: float) -> float:
        """Return the CPU seconds that it has used until now."""
        idle = max(0.0, at - self.container_at) * IDLE_CORES
        return self.group.used(at) + idle

    def known_ready_at(self, at: float) -> float:
        """Return when Kubernetes knows that it is ready, if it works from now on: after a probe of each kind."""
        started = next_tick(at, begin=self.container_at, period=self.kind.startup_period_seconds)
        return next_tick(started, begin=self.container_at, period=self.kind.readiness_period_seconds)


def next_tick(at: float, *, begin: float, period: float) -> float:
    """Return the first moment from now on that is a whole number of periods after the beginning."""
    return begin + math.ceil((at - begin) / period) * period


def to_stop(pods: list[Pod], count: int) -> list[Pod]:
    """Return the pods that a ReplicaSet deletes: first those that are not ready, then the youngest."""
    wanted = [pod for pod in pods if pod.is_wanted]
    return sorted(wanted, key=lambda pod: (not pod.is_starting, -pod.created_at))[:count]
