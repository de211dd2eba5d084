"""How old the figures are that an autoscaler sees: metrics-server's for CPU, and Prometheus' for the backlog."""

from dataclasses import dataclass, field

from workers.capacity.autoscaler import PodSeen, Usage
from workers.capacity.pods import Phase, Pod

RESOLUTION_SECONDS = 15.0
"""metrics-server's --metric-resolution."""
KUBELET_AGE_SECONDS = 5.0
"""How old the kubelet's figures are when metrics-server asks: half of the ten seconds between two of its looks."""
FRESH_SECONDS = 10.0
"""metrics-server shows the first figures of a container only if it had run for so long."""
GAUGES_SECONDS = 5.0
"""How often a relay reads its gauges of the backlog (webhooks/publishing/gauges.py)."""
SCRAPE_SECONDS = 15.0
"""Prometheus' interval, as the component `monitoring` has it."""
MOST_COUNTED = 20_000
"""So many waiting jobs a relay counts at most (webhooks/inbox/due.py)."""


@dataclass(slots=True)
class MetricsServer:
    """The CPU of the pods, from the last two looks at each. `look` when it asks, `show` when the answer is there."""

    _last: dict[Pod, tuple[float, float]] = field(default_factory=dict)
    _made: dict[Pod, Usage] = field(default_factory=dict)
    _shown: dict[Pod, Usage] = field(default_factory=dict)

    def look(self, pods: list[Pod], *, at: float) -> None:
        """Take the CPU of each container that runs now. It is on view after KUBELET_AGE_SECONDS."""
        last, self._last, self._made = self._last, {}, {}
        for pod in pods:
            if pod.container_at > at or pod.phase is Phase.GONE:
                continue
            age, used = at - pod.container_at, pod.used(at)
            begin = last.get(pod)
            if begin is None and FRESH_SECONDS <= age < RESOLUTION_SECONDS:
                begin = (pod.container_at, 0.0)
            self._last[pod] = (at, used)
            if begin is not None:
                window = at - begin[0]
                self._made[pod] = Usage((used - begin[1]) / window, at, window)

    def show(self) -> None:
        self._shown = self._made

    def seen(self, pod: Pod, *, at: float) -> PodSeen:
        """Return a pod as an autoscaler sees it now."""
        is_ready = pod.is_ready(at)
        return PodSeen(
            started_at=pod.created_at,
            is_running=pod.phase is not Phase.PENDING,
            is_ready=is_ready,
            changed_at=pod.ready_at if is_ready else pod.created_at,
            usage=self._shown.get(pod),
            is_stopping=not pod.is_wanted,
        )


@dataclass(slots=True)
class Backlog:
    """The backlog as a relay's gauges have it, and as Prometheus has scraped it."""

    read: tuple[float, int] = (0.0, 0)
    """The age of the oldest waiting job, and how many wait."""
    scraped: tuple[float, int] = (0.0, 0)

    def scrape(self) -> None:
        self.scraped = self.read
