"""Workers started and stopped at random under a steady load, as an autoscaler that cannot make up its mind does.

Once, in the middle, `manage.py stop_workers --wait` has all of them start afresh.
"""

import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.drain.drains import BRIEF, SLOW, conclude, concurrency, url
from tests.drain.pod import Stop, end, judge, runs_of
from tests.drain.report import BEYOND_SECONDS, Report, faults_of_stops
from tests.faults.fleet import Fleet, Member
from tests.faults.load import Load
from tests.support.processes import wait_until

CHILDREN = 2
GRACE_SECONDS = 90.0
LAST_WORDS_SECONDS = 3.0
"""How long after its last sign of life a worker may take to exit."""
RATE_PER_WORKER = 0.4
"""Deliveries a second, a third of them of 3 s: about half of what the workers carry that are up."""
FEWEST, MOST = 0.3, 0.7
"""The shares of the workers that are up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How many workers, for how long, and the bounds of the time between two starts or stops."""

    workers: int = 20
    seconds: float = 120.0
    pause_seconds: tuple[float, float] = (1.0, 3.0)
    beyond_seconds: float = BEYOND_SECONDS
    """How much longer than its last run a stop may take."""
    refreshes: bool = True
    """Whether all are told to start afresh, once."""


SHORT = Weather(workers=4, seconds=15, pause_seconds=(0.5, 1.5), beyond_seconds=15, refreshes=False)


@dataclass(slots=True)
class Storm:
    """The places of the workers, who is up, and who is being stopped."""

    fleet: Fleet
    weather: Weather
    draw: random.Random
    pool: ThreadPoolExecutor
    places: list[Member] = field(default_factory=list)
    starts: int = 0
    stopping: "dict[int, Future[Stop]]" = field(default_factory=dict)
    """By the member's number."""
    stops: "list[Future[Stop]]" = field(default_factory=list)

    @property
    def up(self) -> list[Member]:
        return [member for member in self.places if not member.is_held]

    def start_one(self) -> None:
        """Fill a place that has never been filled, or one that is empty again."""
        if len(self.places) < self.weather.workers:
            settings = concurrency(CHILDREN) | {"HOOKLINE_GRACE_SECONDS": f"{GRACE_SECONDS:g}"}
            self.places.append(self.fleet.add("worker", len(self.fleet.workers), settings))
        elif empty := [member for member in self.places if member.is_held and self.stopping[member.number].done()]:
            self.fleet.release(self.draw.choice(empty))
        else:
            return
        self.starts += 1

    def stop_one(self) -> None:
        alive = [member for member in self.up if member.process.poll() is None]
        if not alive:
            return
        member = self.draw.choice(alive)
        self.fleet.expect_end(member)
        self.stopping[member.number] = self.pool.submit(self._stop, member)
        self.stops.append(self.stopping[member.number])

    def change(self) -> None:
        """Start or stop one, within the bounds."""
        share = len(self.up) / self.weather.workers
        starts = share <= FEWEST or (share < MOST and self.draw.random() < 0.5)
        self.start_one() if starts else self.stop_one()

    def refresh(self, report: Report) -> None:
        """Have all that are up start afresh; one that is just starting may be too late to hear of it."""
        before = [(member, member.process) for member in self.up]
        for member, _ in before:
            member.was_ended = True
        said = self.fleet.manage("stop_workers", "--wait", "--timeout", f"{GRACE_SECONDS:g}").splitlines()
        time.sleep(LAST_WORDS_SECONDS)
        statuses = Counter(process.poll() for _, process in before)
        report.notes.append(f"stop_workers, with {len(before)} up: {said[0]} {said[-1]}")
        if statuses.keys() - {0, None} or not statuses[0]:
            report.failures.append(f"stop_workers: exit statuses {dict(statuses)}")

    def _stop(self, member: Member) -> Stop:
        attempts, claims = runs_of(member), member.claims  # Before another process fills its place.
        ending = end(self.fleet, member, grace_seconds=GRACE_SECONDS)
        return judge(ending, self.fleet.rows, attempts=attempts, claims=claims)


def run(fleet: Fleet, weather: Weather, *, broker: str, draw: random.Random) -> Report:
    """Let a storm pass over an open fleet without workers."""
    began = time.monotonic()
    report = Report(name=f"storm over {weather.workers} workers", broker=broker, consumers=CHILDREN)
    load = Load(
        url(fleet),
        fleet.secret,
        rate=RATE_PER_WORKER * weather.workers,
        mix={BRIEF: 2, SLOW: 1},
        seed=draw.getrandbits(32),
    )
    with ThreadPoolExecutor(weather.workers) as pool:
        storm = Storm(fleet, weather, draw, pool)
        begin(storm)
        load.start()
        blow(storm, report)
        load.stop()
        while len(storm.up) < weather.workers / 2:
            storm.start_one()
        stops = [stop.result() for stop in storm.stops]
    report.notes.append(f"{len(load.sent)} deliveries, {storm.starts} starts, {len(stops)} stops")
    conclude(fleet, report, load.sent, stops)
    report.failures += faults_of_stops(stops, beyond_seconds=weather.beyond_seconds)
    report.seconds = time.monotonic() - began
    return report


def begin(storm: Storm) -> None:
    """Start half of them, one by one, and wait until one of them works."""
    while len(storm.up) < storm.weather.workers / 2:
        storm.start_one()
        time.sleep(storm.weather.pause_seconds[0])
    wait_until(lambda: any(" ready." in member.log.read_text() for member in storm.up), what="a worker to be ready")


def blow(storm: Storm, report: Report) -> None:
    began = time.monotonic()
    is_fresh = not storm.weather.refreshes
    while (blown := time.monotonic() - began) < storm.weather.seconds:
        if not is_fresh and blown > storm.weather.seconds / 2:
            is_fresh = True
            storm.refresh(report)
        storm.change()
        time.sleep(storm.draw.uniform(*storm.weather.pause_seconds))
