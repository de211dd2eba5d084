"""Accounts for every delivery of a run: what was answered, what the inbox holds, and what the handlers' marks say.

All moments are the database's clock. Values only come out; what is a failure is judged here too, in `faults`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.faults.fleet import Fleet
from tests.faults.load import Sent
from tests.faults.team import handlers
from webhooks.subscriptions.subscription import Defaults, discover

FINAL = frozenset({"succeeded", "dead", "skipped"})
RECOVERY_SECONDS = 30.0
LEASE_MARGIN_SECONDS = 2.0
NAMED = 3
"""How many jobs a sentence names at most."""

_JOBS = """
SELECT j.id, d.guid, j.handler, j.state, j.attempt, d.received_at, j.finished_at, j.error, j.budget_from_attempt, j.lost
FROM webhooks_delivery d LEFT JOIN webhooks_job j ON j.delivery_id = d.id
"""
_ATTEMPTS = "SELECT job_id, number, outcome, started_at, finished_at, message FROM webhooks_attempt"


_SUBSCRIPTIONS = discover(
    [("team", handlers)], defaults=Defaults(queue="default", time_limit=handlers.LIMIT, max_attempts=5)
)


@dataclass(frozen=True, slots=True)
class JobRow:
    id: int
    guid: str
    handler: str
    state: str
    attempt: int
    received_at: datetime
    finished_at: datetime | None
    error: str
    budget_from_attempt: int
    lost: int


@dataclass(frozen=True, slots=True)
class AttemptRow:
    job: int
    number: int
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    message: str


@dataclass(slots=True)
class Account:
    """What became of a run. `lifted_at` is when its fault was over."""

    sent: Sequence[Sent]
    jobs: dict[str, list[JobRow]]
    """The jobs of each delivery in the inbox, by its GUID."""
    attempts: dict[int, list[AttemptRow]]
    effects: Counter[tuple[str, int]]
    """How often each run of each handler said that it was done, by idempotency key and attempt."""
    lifted_at: datetime
    lost: dict[str, str] = field(default_factory=dict)
    """Why each lost delivery is lost, by its GUID."""

    @property
    def all_jobs(self) -> list[JobRow]:
        return [job for jobs in self.jobs.values() for job in jobs]

    @property
    def acknowledged(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.is_acknowledged]

    @property
    def statuses(self) -> Counter[int]:
        """Answers by status; 0 stands for no answer."""
        return Counter(sent.status for sent in self.sent)

    @property
    def longest_acknowledgement_ms(self) -> float:
        return max((sent.milliseconds for sent in self.acknowledged), default=0.0)

    @property
    def longest_refusal_ms(self) -> float:
        return max((sent.milliseconds for sent in self.sent if sent.status >= 500), default=0.0)

    @property
    def recovered_seconds(self) -> float:
        """From the lift of the fault until every delivery acknowledged before it was final, all its jobs; at least 0.

        A delivery counts as before the lift if it was stored by then. A job still not final counts as never. What the
        load sends afterwards does not count, and is less than the fleet can do, so that no queue of its own is blamed
        on the fault.
        """
        before = [job for job in self._of_acknowledged() if job.received_at <= self.lifted_at]
        return self._until_final(before)

    @property
    def innocents_recovered_seconds(self) -> float:
        """The same, of the jobs that are to succeed."""
        poisonous = {sent.guid for sent in self.sent if sent.kind.is_poison}
        before = [job for job in self._of_acknowledged() if job.received_at <= self.lifted_at]
        return self._until_final([job for job in before if job.guid not in poisonous])

    @property
    def allowed_seconds(self) -> float:
        """How long after the lift recovery may take: 30 s from the later of the lift and the last lost run's lease."""
        by_id = {job.id: job for job in self.all_jobs}
        lease_ends = [
            attempt.started_at + timedelta(seconds=limit_of(by_id[attempt.job].handler) + LEASE_MARGIN_SECONDS)
            for attempts in self.attempts.values()
            for attempt in attempts
            if attempt.outcome == "lost"
        ]
        later = max([self.lifted_at, *lease_ends])
        return (later - self.lifted_at).total_seconds() + RECOVERY_SECONDS

    @property
    def runs_lost(self) -> int:
        return sum(attempt.outcome == "lost" for attempts in self.attempts.values() for attempt in attempts)

    @property
    def effects_per_job(self) -> Counter[str]:
        """How often each job's effect came about, over all its runs, by idempotency key."""
        total: Counter[str] = Counter()
        for (key, _), count in self.effects.items():
            total[key] += count
        return total

    def _of_acknowledged(self) -> list[JobRow]:
        return [job for guid in {sent.guid for sent in self.acknowledged} for job in self.jobs.get(guid, [])]

    def _until_final(self, jobs: Iterable[JobRow]) -> float:
        ends = [job.finished_at for job in jobs]
        if None in ends:
            return float("inf")
        last = max((end for end in ends if end), default=self.lifted_at)
        return max(0.0, (last - self.lifted_at).total_seconds())


def take_account(fleet: Fleet, sent: Sequence[Sent], *, lifted_at: datetime) -> Account:
    jobs: dict[str, list[JobRow]] = {}
    for row in fleet.rows(_JOBS):
        guid = str(row[1]) if fleet.database_url else _dashed(row[1])
        stored = jobs.setdefault(guid, [])
        if row[0] is not None:
            told = (*row[2:5], moment(row[5]), moment(row[6]), *row[7:])
            stored.append(JobRow(row[0], guid, *told))
    attempts: dict[int, list[AttemptRow]] = {}
    for job, number, outcome, started_at, finished_at, message in fleet.rows(_ATTEMPTS):
        attempt = AttemptRow(job, number, outcome, moment(started_at), moment(finished_at), message)  # type: ignore[arg-type]
        attempts.setdefault(job, []).append(attempt)
    account = Account(sent, jobs, attempts, _effects(fleet), lifted_at)
    account.lost = {one.guid: why for one in account.acknowledged if (why := why_lost(one, account.jobs.get(one.guid)))}
    return account


def why_lost(sent: Sent, jobs: Sequence[JobRow] | None) -> str:
    """Return why an acknowledged delivery is lost; empty if it is not."""
    if jobs is None:
        return "acknowledged, and not stored"
    if Counter(job.handler for job in jobs) != Counter(sent.kind.handlers):
        return f"its jobs are {sorted(job.handler for job in jobs)}"
    for job in jobs:
        if job.state not in FINAL:
            return f"{job.handler} #{job.id} is {job.state} after {job.attempt} runs"
        if job.state != ("dead" if sent.kind.is_poison else "succeeded"):
            return f"{job.handler} #{job.id} is {job.state} after {job.attempt} runs: {job.error}"
    return ""


def faults(account: Account) -> list[str]:
    """Return what is wrong in any case, a sentence each."""
    found = []
    if account.lost:
        found.append(f"{len(account.lost)} lost, such as {_some(account.lost.values())}")
    if wrong := [job for job in account.all_jobs if _successes(account, job) != (job.state == "succeeded")]:
        found.append(f"{len(wrong)} jobs without exactly one recorded success, such as {_some(wrong)}")
    if unused := [job for job in account.all_jobs if _counted(job) > len(account.attempts.get(job.id, ()))]:
        found.append(f"{len(unused)} jobs have paid for an attempt that was never run, such as {_some(unused)}")
    if open_ended := [a for its in account.attempts.values() for a in its if not a.outcome or not a.finished_at]:
        found.append(f"{len(open_ended)} attempts never ended in the inbox, such as {_some(open_ended)}")
    if twice := [effect for effect, count in account.effects.items() if count > 1]:
        found.append(f"{len(twice)} runs had their effect twice, such as {_some(twice)}")
    if unanswered := [sent for sent in account.sent if not sent.is_concluded]:
        found.append(f"{len(unanswered)} deliveries were never concluded by the load")
    if account.recovered_seconds > account.allowed_seconds:
        found.append(f"recovered after {account.recovered_seconds:.1f} s; {account.allowed_seconds:.1f} s are allowed")
    return found


def limit_of(handler: str) -> float:
    """Return a handler's hard time limit."""
    subscription = _SUBSCRIPTIONS.get(handler)
    return subscription.time_limit if subscription else 0.0


def _counted(job: JobRow) -> int:
    """Return how many attempts a job has had. One that was claimed and given back before its run is none."""
    return job.attempt - job.budget_from_attempt


def _successes(account: Account, job: JobRow) -> int:
    return sum(attempt.outcome == "succeeded" for attempt in account.attempts.get(job.id, []))


def _effects(fleet: Fleet) -> Counter[tuple[str, int]]:
    lines = (line.split() for line in fleet.effects.read_text().splitlines())
    return Counter((line[0], int(line[1])) for line in lines if line[2] == "done")


def _some(things: Iterable[object]) -> str:
    return "; ".join(str(thing) for thing, _ in zip(things, range(NAMED), strict=False))


def _dashed(value: str) -> str:
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


def moment(value: Any) -> datetime | None:
    """Return a moment as the database gave it; SQLite keeps them as text, in UTC."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(f"{value}+00:00")
