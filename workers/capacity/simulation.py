"""A fleet of workers under a load: jobs, pods and looks of the autoscaler, as events in the order of their moments."""

import heapq
import itertools
import math
import random
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.capacity.autoscaler import SYNC_SECONDS, Autoscaler, Seen
from workers.capacity.jobs import Jobs
from workers.capacity.metrics import (
    GAUGES_SECONDS,
    KUBELET_AGE_SECONDS,
    RESOLUTION_SECONDS,
    SCRAPE_SECONDS,
    Backlog,
    MetricsServer,
)
from workers.capacity.pods import EXIT_SECONDS, Phase, Pod, PodKind, to_stop
from workers.capacity.policies import Scaling
from workers.capacity.processors import Cores, Group
from workers.capacity.results import Holder, Moment, Result

GROUPED_CPU_SECONDS, ALONE_CPU_SECONDS = 0.0007, 0.002
"""What a job costs its pod beside the handler: in a group, and alone. Decision 0008 has 0.7 ms for a full load of short
handlers, and 1.6 ms at 65 to 260 jobs a second; on a real Kubernetes, at 66 a second, it was 1.5 to 2.4 ms
(`autoscaling-waiting-cpu-60` in tests/capacity/observed)."""
GROUP_SECONDS = 0.001
"""A job that follows another on its worker so soon shares a claim, a message and a commit with it."""
SETTLED_SECONDS = 3600.0
"""So long after the last job at most, a fleet is waited for that does not shrink to its least."""
LONGEST_SECONDS = 86_400.0
"""So long after the last arrival, what still waits is given up on."""
LONG_AGO = -86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a simulation needs to know besides jobs and scaling."""

    kind: PodKind
    cores: float = math.inf
    """Of all nodes together, for workers."""
    beside_cpu_seconds: float = 0.0
    """What each delivery costs others on the same cores: receivers, database, broker."""
    scrape_seconds: float = SCRAPE_SECONDS
    look_seconds: float = 2.0
    """How often the result's moments are taken."""
    seed: int = 1


@dataclass(slots=True)
class Simulation:
    """One run. `run` gives the result."""

    jobs: Jobs
    setup: Setup
    scaling: Scaling
    now: float = 0.0
    wanted: int = 0
    finished: int = 0
    interrupted: int = 0
    pods: list[Pod] = field(default_factory=list)
    every_pod: list[Pod] = field(default_factory=list)
    waits: "array[float]" = field(default_factory=lambda: array("d"))
    moments: list[Moment] = field(default_factory=list)
    held: Counter[Holder] = field(default_factory=Counter)
    most_waiting: int = 0
    drained_at: float = 0.0
    _cores: Cores = field(init=False)
    _autoscaler: Autoscaler | None = field(init=False)
    _queue: deque[tuple[int, float]] = field(default_factory=deque)
    _timers: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _resting: list[tuple[float, int, Pod]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _arrived: int = 0
    _server: MetricsServer = field(default_factory=MetricsServer)
    _backlog: Backlog = field(default_factory=Backlog)

    def run(self) -> Result:
        self._begin()
        while not self._is_over():
            self._step()
        return Result.of(self)

    def _begin(self) -> None:
        self._cores = Cores(self.setup.cores)
        self._autoscaler = self.scaling.autoscaler()
        self.waits = array("d", [math.nan]) * len(self.jobs)
        self.wanted = self.scaling.least
        for _ in range(self.wanted):
            pod = self._new_pod(LONG_AGO)
            pod.phase, pod.container_at, pod.ready_at = Phase.WORKING, LONG_AGO, LONG_AGO
        # Nobody knows how these intervals lie to each other, or to the burst; each policy gets the same ones.
        chance = random.Random(self.setup.seed)  # noqa: S311
        looks_at = chance.random() * RESOLUTION_SECONDS
        for periods in (2, 1):
            self._server.look(self.pods, at=looks_at - periods * RESOLUTION_SECONDS)
            self._server.show()
        self._every(RESOLUTION_SECONDS, self._look_at_cpu, begin=looks_at)
        self._every(GAUGES_SECONDS, self._read_gauges, begin=chance.random() * GAUGES_SECONDS)
        if self.setup.scrape_seconds:
            scrapes_at = chance.random() * self.setup.scrape_seconds
            self._every(self.setup.scrape_seconds, self._backlog.scrape, begin=scrapes_at)
        self._every(SYNC_SECONDS, self._sync, begin=chance.random() * SYNC_SECONDS)
        self._every(self.setup.look_seconds, self._take_moment, begin=0.0)

    def _every(self, seconds: float, act: Callable[[], None], *, begin: float) -> None:
        def again() -> None:
            act()
            self._after(seconds, again)

        self._after(begin, again)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), act))

    def _is_over(self) -> bool:
        if self._arrived < len(self.jobs):
            return False
        if self.finished < len(self.jobs):
            return self.now > self.jobs.at[-1] + LONGEST_SECONDS
        is_settled = self.wanted == self.scaling.least and len(self.pods) == self.wanted
        return is_settled or self.now > self.drained_at + SETTLED_SECONDS

    def _step(self) -> None:
        """Let the next event happen."""
        arrives_at = self.jobs.at[self._arrived] if self._arrived < len(self.jobs) else math.inf
        group = self._cores.next()
        computed_at = group.next_at if group else math.inf
        rested_at = self._resting[0][0] if self._resting else math.inf
        at = min(arrives_at, computed_at, rested_at, self._timers[0][0])
        if self._queue:
            self.held[self._holder()] += at - self.now  # type: ignore[assignment]
        self.now = at
        if group and at == computed_at:
            self._computed(group)
        elif at == rested_at:
            _, job, pod = heapq.heappop(self._resting)
            self._ended(pod, job)
        elif at == arrives_at:
            self._arrive()
        else:
            heapq.heappop(self._timers)[2]()

    def _holder(self) -> Holder:
        """Return what keeps the jobs that wait now from running."""
        if self._cores.is_short:
            return Holder.CORES
        if any(pod.is_starting for pod in self.pods):
            return Holder.START
        return Holder.MOST if self.wanted >= self.scaling.most else Holder.AUTOSCALER

    # Jobs.

    def _arrive(self) -> None:
        job = self._arrived
        self._arrived += 1
        if self.setup.beside_cpu_seconds:
            self._cores.add(self._cores.first, None, cpu_seconds=self.setup.beside_cpu_seconds, at=self.now)
        self._queue.append((job, self.now))
        self._hand_out()
        self.most_waiting = max(self.most_waiting, len(self._queue))

    def _hand_out(self) -> None:
        while self._queue:
            pod = max(self.pods, key=_free, default=None)
            if pod is None or not pod.free:
                return
            self._start(pod)

    def _start(self, pod: Pod) -> None:
        job, _ = self._queue.popleft()
        if math.isnan(self.waits[job]):
            self.waits[job] = self.now - self.jobs.at[job]
        pod.running.add(job)
        is_grouped = self.now - pod.begun_at < GROUP_SECONDS
        pod.begun_at = self.now
        overhead = GROUPED_CPU_SECONDS if is_grouped else ALONE_CPU_SECONDS
        cpu_seconds = self.jobs.cpu_seconds[job] + overhead
        self._cores.add(pod.group, (pod, job), cpu_seconds=cpu_seconds, at=self.now)

    def _computed(self, group: Group) -> None:
        what: tuple[Pod, int | None] | None = self._cores.end(group, self.now)
        if what is None:
            return
        pod, job = what
        if job is None:
            self._work(pod)
        elif waits := self.jobs.wait_seconds[job]:
            heapq.heappush(self._resting, (self.now + waits, job, pod))
        else:
            self._ended(pod, job)

    def _ended(self, pod: Pod, job: int) -> None:
        if job not in pod.running:
            return  # It was interrupted.
        pod.running.remove(job)
        self.finished += 1
        self.drained_at = self.now
        if pod.phase is Phase.STOPPING:
            if not pod.running:
                self._after(EXIT_SECONDS, lambda: self._gone(pod))
        elif self._queue:
            self._start(pod)

    # Pods.

    def _new_pod(self, at: float) -> Pod:
        pod = Pod(self.setup.kind, at, Group(at=0.0, limit=self.setup.kind.limit_cores))
        self.pods.append(pod)
        self.every_pod.append(pod)
        return pod

    def _scale(self, wanted: int) -> None:
        there = sum(1 for pod in self.pods if pod.is_wanted)
        self.wanted = wanted
        for _ in range(wanted - there):
            pod = self._new_pod(self.now)
            self._after(self.setup.kind.container_seconds, lambda pod=pod: self._boot(pod))  # type: ignore[misc]
        for pod in to_stop(self.pods, max(0, there - wanted)):
            self._stop(pod)

    def _boot(self, pod: Pod) -> None:
        if pod.phase is Phase.PENDING:
            pod.phase, pod.container_at = Phase.STARTING, self.now
            self._cores.add(pod.group, (pod, None), cpu_seconds=self.setup.kind.start_cpu_seconds, at=self.now)

    def _work(self, pod: Pod) -> None:
        pod.phase, pod.ready_at = Phase.WORKING, pod.known_ready_at(self.now)
        while self._queue and pod.free:
            self._start(pod)

    def _stop(self, pod: Pod) -> None:
        if pod.phase is Phase.STARTING:
            self._cores.cancel(pod.group, {(pod, None)}, self.now)
        pod.phase = Phase.STOPPING
        if pod.running:
            self._after(self.setup.kind.patience_seconds, lambda: self._interrupt(pod))
        else:
            self._after(EXIT_SECONDS, lambda: self._gone(pod))

    def _interrupt(self, pod: Pod) -> None:
        """Hand back what a stopping worker still runs: it runs again, from its beginning."""
        if not pod.running:
            return
        self._cores.cancel(pod.group, {(pod, job) for job in pod.running}, self.now)
        self.interrupted += len(pod.running)
        self._queue.extend((job, self.now) for job in sorted(pod.running))
        pod.running.clear()
        self._after(EXIT_SECONDS, lambda: self._gone(pod))
        self._hand_out()

    def _gone(self, pod: Pod) -> None:
        pod.phase, pod.gone_at = Phase.GONE, self.now
        self.pods.remove(pod)

    # Looks.

    def _look_at_cpu(self) -> None:
        self._server.look(self.pods, at=self.now)
        self._after(KUBELET_AGE_SECONDS, self._server.show)

    def _read_gauges(self) -> None:
        self._backlog.read = self._waiting()

    def _waiting(self) -> tuple[float, int]:
        return (self.now - self._queue[0][1] if self._queue else 0.0), len(self._queue)

    def _sync(self) -> None:
        if self._autoscaler is not None and (wanted := self._autoscaler.replicas(self.seen())) != self.wanted:
            self._scale(wanted)

    def seen(self) -> Seen:
        """Return what the autoscaler sees now."""
        oldest, waiting = self._waiting() if self.scaling.asks_directly else self._backlog.scraped
        return Seen(
            at=self.now,
            wanted=self.wanted,
            replicas=sum(1 for pod in self.pods if pod.is_wanted),
            pods=[self._server.seen(pod, at=self.now) for pod in self.pods],
            oldest_seconds=oldest,
            waiting=waiting,
        )

    def _take_moment(self) -> None:
        oldest, waiting = self._waiting()
        ready = sum(1 for pod in self.pods if pod.is_ready(self.now))
        running = sum(len(pod.running) for pod in self.pods)
        self.moments.append(Moment(self.now, self.wanted, ready, waiting, running, oldest))


def _free(pod: Pod) -> int:
    return pod.free
