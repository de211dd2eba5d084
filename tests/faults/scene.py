"""One case from its start to its result: start the fleet, load it, bring the fault about, lift it, drain, account."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.faults.account import RECOVERY_SECONDS, Account, faults, moment, take_account
from tests.faults.fleet import Fleet, running_fleet
from tests.faults.load import ORDINARY, Load, Mix
from tests.faults.servers import Broker, OwnPostgres

BEFORE_SECONDS = 3.0
"""How long the load runs before the fault, and at least how long after its lift."""
AFTER_SECONDS = 2.0
DRAIN_SECONDS = 120.0
BROKERS = ("rabbitmq", "redis")


class NotRunError(Exception):
    """This machine lacks what a case needs. The message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How hard and how long: `load_seconds` at the least, and `hold_seconds` for outages."""

    rate: float
    load_seconds: float
    hold_seconds: float
    seed: int = 0


HEADROOM = 0.5
"""The share of what the fleet can do that the load takes, so that its own queue is never blamed on a fault."""
FULL = Pace(rate=100.0, load_seconds=20.0, hold_seconds=10.0)
SHORT = Pace(rate=12.0, load_seconds=6.0, hold_seconds=4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault. `bring_about` runs beside the load, and returns once the fault is lifted."""

    number: int
    name: str
    bring_about: "Callable[[Scene], None]"
    mix: Mix = field(default_factory=lambda: ORDINARY)
    brokers: tuple[str, ...] = BROKERS
    environment: Mapping[str, str] = field(default_factory=dict)
    environments: Mapping[str, dict[str, str]] = field(default_factory=dict)
    """Settings of single processes, such as {"worker1": {...}}."""
    may_refuse: bool = False
    """Whether the receiver may answer 503, because its database is away."""
    may_not_answer: bool = False
    """Whether connections to the receiver may break, because it is killed itself."""
    is_idle: bool = False
    """Whether the fault meets a fleet that has nothing to do; the load comes after it."""
    is_long: bool = False
    share: float = 1.0
    """The part of the pace's rate that the case runs at."""
    prepare: Callable[[Fleet], None] = lambda _fleet: None
    """What is done before anything is started."""
    consumer_timeout_ms: int | None = None
    """A RabbitMQ of the case's own gives up consumers that do not acknowledge within this."""


@dataclass(slots=True)
class Scene:
    """What a case works on while it runs."""

    case: Case
    pace: Pace
    fleet: Fleet
    load: Load
    broker: Broker
    postgres: OwnPostgres
    draw: random.Random
    lifted_at: datetime | None = None
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    afterwards: list[Callable[[Account], None]] = field(default_factory=list)
    """What the case still checks once all is drained."""

    def lift(self) -> None:
        """Say that the fault is over, by the database's clock."""
        self.lifted_at = now(self.fleet)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def require(self, claim: object, sentence: str) -> None:
        if not claim:
            self.failures.append(sentence)

    def hold(self) -> None:
        """Let the fault last."""
        time.sleep(self.pace.hold_seconds)


@dataclass(frozen=True, slots=True)
class Result:
    """What the table shows of one case on one broker. `failures` is empty if it passed."""

    number: int
    name: str
    broker: str
    rate: float = 0.0
    account: Account | None = None
    restarts: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()
    not_run: str = ""


def run(case: Case, broker: Broker, postgres: OwnPostgres, pace: Pace) -> Result:
    """Run one case on one broker."""
    began = time.monotonic()
    with running_fleet(postgres, broker, **case.environment) as fleet:
        url = f"http://127.0.0.1:{fleet.port}/webhooks/github"
        load = Load(url, fleet.secret, rate=pace.rate * case.share, mix=case.mix, seed=pace.seed)
        scene = Scene(case, pace, fleet, load, broker, postgres, random.Random(pace.seed + case.number))
        try:
            case.prepare(fleet)
            fleet.open(case.environments)
            account = play(scene)
        except NotRunError as error:
            return Result(case.number, case.name, broker.name, not_run=str(error))
        conclude(scene, account)
    return Result(
        case.number,
        case.name,
        broker.name,
        rate=load.rate,
        account=account,
        restarts=dict(fleet.restarts),
        seconds=time.monotonic() - began,
        notes=scene.notes,
        failures=scene.failures,
    )


def play(scene: Scene) -> Account:
    """Load the fleet, bring the fault about in the middle of it, wait until the inbox is drained, and account."""
    if scene.case.is_idle:
        scene.case.bring_about(scene)
        scene.lift()
        scene.afterwards.append(lambda account: _first_job_is_quick(scene, account))
    began = time.monotonic()
    scene.load.start()
    try:
        if not scene.case.is_idle:
            time.sleep(BEFORE_SECONDS)
            scene.case.bring_about(scene)
        if scene.lifted_at is None:
            scene.lift()
        time.sleep(max(AFTER_SECONDS, began + scene.pace.load_seconds - time.monotonic()))
    finally:
        scene.load.stop()
    drain(scene.fleet)
    assert scene.lifted_at
    return take_account(scene.fleet, scene.load.sent, lifted_at=scene.lifted_at)


def _first_job_is_quick(scene: Scene, account: Account) -> None:
    """After an outage that nobody was busy in, what comes first must be done within seconds."""
    assert scene.lifted_at
    ends = [job.finished_at for job in account.all_jobs if job.finished_at]
    waited = (min(ends) - scene.lifted_at).total_seconds() if ends else float("inf")
    scene.note(f"the first job was done {waited:.1f} s after the lift")
    scene.require(waited <= RECOVERY_SECONDS, f"the first job was done {waited:.1f} s after the lift")


def drain(fleet: Fleet) -> None:
    """Wait until every job is final; what is not after a long time is what the account calls lost."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and not fleet.is_drained():
        time.sleep(0.5)


def conclude(scene: Scene, account: Account) -> None:
    """Judge what is judged in every case, then what this one adds."""
    scene.failures += faults(account)
    refused = {status: count for status, count in account.statuses.items() if status >= 400}
    is_allowed = scene.case.may_refuse and refused.keys() <= {503}
    scene.require(is_allowed or not refused, f"refused: {refused}")
    unanswered = account.statuses[0]
    scene.require(scene.case.may_not_answer or not unanswered, f"{unanswered} deliveries not answered")
    for check in scene.afterwards:
        check(account)


def now(fleet: Fleet) -> datetime:
    """Return the database's time."""
    query = "SELECT clock_timestamp()" if fleet.database_url else "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
    ((told,),) = fleet.rows(query)
    at = moment(told)
    assert at
    return at
