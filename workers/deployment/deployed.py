"""What rules of a deployment look at: the workloads of the manifests, their values, and values from elsewhere."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from webhooks.source_secrets import listed_name
from webhooks.subscriptions.subscription import Subscription, Subscriptions
from workers.deployment.manifests import Manifest, Workload, workloads

DEFAULTS: Mapping[str, float] = {
    "HOOKLINE_BODY_SECONDS": 10,
    "HOOKLINE_CHILD_MAX_MB": 1024,
    "HOOKLINE_DRAIN_SECONDS": 5,
    "HOOKLINE_FLOWER_PORT": 5555,
    "HOOKLINE_GRACE_SECONDS": 90,
    "HOOKLINE_PORT": 8000,
    "HOOKLINE_PROBE_PORT": 8001,
    "HOOKLINE_RECEIVER_THREADS": 8,
    "HOOKLINE_STALLED_SECONDS": 60,
    "HOOKLINE_TIME_LIMIT": 60,
    "HOOKLINE_WORKER_CONCURRENCY": 4,
    "HOOKLINE_WORKER_MAX_SECONDS": 3600,
}
"""Production's defaults of the variables that rules compare; a test compares them with project/settings.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is not in the manifests: Hookline's own values, and those of database and broker."""

    subscriptions: Subscriptions
    apps: frozenset[str]
    """The Django apps installed in this process, whose subscriptions these are."""
    default_queue: str
    default_time_limit: float
    """The limit, in this process, of subscriptions that give none."""
    variables: frozenset[str]
    """Every variable that settings read."""
    withheld: Mapping[str, frozenset[str]]
    """The variables that each role does not use and must not be given."""
    visibility_seconds: Callable[[Subscriptions], float]
    """How long Redis leaves a message to a worker (workers/runs/registration.py)."""
    receiver_margin_seconds: float
    max_connections: int | None
    consumer_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Deployed:
    """The manifests, the programs of Hookline that they run, and values from elsewhere."""

    manifests: tuple[Manifest, ...]
    workloads: tuple[Workload, ...]
    around: Surroundings

    @classmethod
    def of(cls, manifests: Iterable[Manifest], around: Surroundings) -> "Deployed":
        every = tuple(manifests)
        return cls(every, tuple(workloads(every)), around)

    def running(self, *roles: str) -> Iterator[Workload]:
        return (workload for workload in self.workloads if workload.role in roles)

    def withholds(self, workload: Workload, name: str) -> bool:
        """Tell whether the workload's role does not use this variable and must not be given it."""
        return listed_name(name) in self.around.withheld[workload.role]

    def subscriptions(self, worker: Workload) -> list[Subscription]:
        """Return the subscriptions that a pool of workers runs."""
        queues = worker.queues
        return [one for one in self.around.subscriptions if queues is None or one.queue in queues]

    def limit(self, subscription: Subscription, workload: Workload) -> float:
        """Return its hard limit there. If it equals this process's default, the workload's own default counts."""
        if subscription.time_limit != self.around.default_time_limit:
            return subscription.time_limit
        return max(subscription.time_limit, value(workload, "HOOKLINE_TIME_LIMIT"))

    def longest(self, worker: Workload) -> tuple[str, float]:
        """Return the subscription with the longest hard limit of a pool, and that limit; ("", 0) if it has none."""
        limits = ((one.name, self.limit(one, worker)) for one in self.subscriptions(worker))
        return max(limits, key=lambda limit: limit[1], default=("", 0.0))


Rule = Callable[[Deployed], Iterator[str]]


def value(workload: Workload, name: str) -> float:
    """Return a variable's number in that workload; production's default if it is missing or not a number."""
    found = number(workload.variables.get(name, ""))
    return DEFAULTS[name] if found is None else found


def number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
