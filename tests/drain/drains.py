"""A backlog, and pods of eight consumers that are stopped on it one after the other; a last one does what is left.

In one form the grace is longer than any handler, and nothing may be cut off. In the other it is shorter, and what still
runs near its end is handed back, and done by a later pod.
"""

import random
import time
from dataclasses import dataclass, field

from tests.drain.pod import CUT_OFF, Stop, end, judge, runs_of
from tests.drain.report import BEYOND_SECONDS, Report, Totals, faults_of_all, faults_of_stops
from tests.drain.team.handlers import LENGTH, LONG_SECONDS
from tests.faults.account import faults, take_account
from tests.faults.fleet import Fleet, Member
from tests.faults.load import Kind, Load, Mix, Sent
from tests.faults.scene import drain, now
from tests.support.processes import free_port, wait_until

CONSUMERS = 8
FINISHERS = 24
BRIEF = Kind("push", "", ("drain.brief",))
SLOW = Kind("workflow_run", "completed", ("drain.slow",))
LONG = Kind("check_run", "created", ("drain.long",))
WARM_RUNS = 2 * CONSUMERS
"""How many runs a pod has begun before it is stopped, so that its start is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One kind of drain."""

    name: str
    mix: Mix
    backlog: int
    grace_seconds: float
    stops: int = 5
    hands_back: bool = False
    beyond_seconds: float = BEYOND_SECONDS
    """How much longer than its last run a stop may take."""
    environment: dict[str, str] = field(default_factory=dict)


FORMS = (
    Form(name="20 ms", mix={BRIEF: 1}, backlog=600, grace_seconds=90),
    Form(name="20 ms and 3 s", mix={BRIEF: 3, SLOW: 1}, backlog=400, grace_seconds=90),
    Form(
        name=f"20 ms and {LONG_SECONDS:g} s, grace 6 s",
        mix={BRIEF: 1, LONG: 1},
        backlog=40,
        grace_seconds=6,
        hands_back=True,
    ),
)
# For the suite, on a machine of which nothing is known: no claim about a second.
SHORT_FORM = Form(
    name="20 ms and 3 s", mix={BRIEF: 2, SLOW: 1}, backlog=50, grace_seconds=90, stops=1, beyond_seconds=15
)
SHORT_OF_TIME = Form(
    name="20 ms and 7 s, grace 5 s",
    mix={BRIEF: 1, LONG: 2},
    backlog=24,
    grace_seconds=5,
    stops=1,
    hands_back=True,
    beyond_seconds=15,
    environment={LENGTH: "7"},
)


def run(fleet: Fleet, form: Form, *, broker: str, draw: random.Random) -> Report:
    """Play one form on an open fleet without workers."""
    began = time.monotonic()
    report = Report(name=form.name, broker=broker, consumers=CONSUMERS)
    sent = send(fleet, form.mix, count=form.backlog, seed=draw.getrandbits(32))
    stops = [stop_one(fleet, form, draw) for _ in range(form.stops)]
    finisher = fleet.add("worker", len(fleet.workers), form.environment | concurrency(FINISHERS))
    conclude(fleet, report, sent, stops)
    end(fleet, finisher, grace_seconds=form.grace_seconds)
    report.failures += faults_of_stops(stops, beyond_seconds=form.beyond_seconds) + faults_of_hand_backs(stops, form)
    report.seconds = time.monotonic() - began
    return report


def faults_of_hand_backs(stops: list[Stop], form: Form) -> list[str]:
    if form.hands_back:
        return [] if all(stop.handed_back for stop in stops) else ["a stop without a hand-back"]
    handed_back = sum(stop.handed_back for stop in stops)
    return [f"{handed_back} runs handed back, and there was time for them"] if handed_back else []


def send(fleet: Fleet, mix: Mix, *, count: int, seed: int) -> list[Sent]:
    """Have so many deliveries acknowledged."""
    load = Load(url(fleet), fleet.secret, rate=300, mix=mix, seed=seed, most=count)
    load.start()
    wait_until(lambda: len(load.sent) == count, what=f"{count} deliveries to be sent")
    load.stop()
    return load.sent


def stop_one(fleet: Fleet, form: Form, draw: random.Random) -> Stop:
    """Start a pod, wait until it is hard at work, and stop it at a moment drawn by chance."""
    settings = {"HOOKLINE_GRACE_SECONDS": f"{form.grace_seconds:g}", "HOOKLINE_PROBE_PORT": str(free_port())}
    member = fleet.add("worker", len(fleet.workers), form.environment | settings | concurrency(CONSUMERS))
    wait_until(lambda: is_hard_at_work(fleet, form, member), what="the pod to be at work")
    time.sleep(draw.uniform(0.0, 0.5))
    ending = end(fleet, member, grace_seconds=form.grace_seconds)
    return judge(ending, fleet.rows, attempts=runs_of(member), claims=member.claims)


def is_hard_at_work(fleet: Fleet, form: Form, member: Member) -> bool:
    """Whether each consumer runs a job; where all are brief, whether enough of them have been run."""
    if form.mix.keys() != {BRIEF}:
        return len(fleet.at_work().keys() & set(member.children)) >= CONSUMERS
    ((runs,),) = fleet.rows(f"SELECT count(*) FROM webhooks_attempt WHERE {runs_of(member)}")
    return bool(runs >= WARM_RUNS)


def conclude(fleet: Fleet, report: Report, sent: list[Sent], stops: list[Stop]) -> None:
    """Wait until every job is final, and account for them."""
    drain(fleet)
    account = take_account(fleet, sent, lifted_at=now(fleet))
    ((spent,),) = fleet.rows(
        "SELECT coalesce(sum(attempt - budget_from_attempt - forgiven - 1), 0)"
        " FROM webhooks_job WHERE state = 'succeeded'"
    )
    report.stops = stops
    report.totals = Totals(
        jobs=len(account.all_jobs),
        lost=len(account.lost),
        run_twice=sum(count > 1 for count in account.effects_per_job.values()),
        cut_off=fleet.rows(CUT_OFF)[0][0],
        spent=int(spent),
    )
    report.failures += faults(account) + faults_of_all(report.totals)
    if fleet.restarts:
        report.failures.append(f"processes ended by themselves: {dict(fleet.restarts)}")
    if refused := len(sent) - len(account.acknowledged):
        report.failures.append(f"{refused} deliveries not acknowledged")


def concurrency(children: int) -> dict[str, str]:
    return {"HOOKLINE_WORKER_CONCURRENCY": str(children)}


def url(fleet: Fleet) -> str:
    return f"http://127.0.0.1:{fleet.port}/webhooks/github"
