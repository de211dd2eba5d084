"""How things stand now: jobs by state, what waits in the queues, workers, the relay, and all of it in one sentence."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from webhooks.durations import rough
from webhooks.inbox import counts, due
from webhooks.inbox import workers as inbox
from webhooks.inbox.counts import Capped
from webhooks.inbox.secrets.standing import SourceStanding
from webhooks.inbox.workers import Reporting
from webhooks.models import Job, Pause, Source
from webhooks.replay_queues import live_queue
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

RELAY_LATE_AFTER = timedelta(seconds=30)
ALARM_SHOWN = timedelta(days=7)
"""For so long after the last such delivery, Home says that a source has sent its secret."""
OLD_SECONDS = 300.0
"""A job that is due for longer makes the sentence warn."""
_STATES = ("ready", "starting", "draining", inbox.LOST)
_ORDER = {
    JobState.QUEUED: "created_at",
    JobState.RUNNING: "lease_until",
    JobState.RETRYING: "due_at",
    JobState.DEAD: "finished_at",
    JobState.SKIPPED: "finished_at",
}
"""The states that have a partial index, and its first column."""


def state_counts() -> list[tuple[str, Capped]]:
    """Count the jobs of each state that has an index of its own, each to FEW."""
    return [
        (state, counts.capped(Job.objects.filter(state=state).order_by(column, "id"), most=counts.FEW))
        for state, column in _ORDER.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits in a queue, and whether a worker takes from it."""

    name: str
    waiting: Capped
    """Due jobs that are not paused, counted to FEW as those are that are."""
    paused: Capped
    oldest_seconds: float = 0.0
    is_paused: bool = False
    is_consumed: bool = True

    @property
    def oldest_in_words(self) -> str:
        return rough(timedelta(seconds=self.oldest_seconds))

    @property
    def is_stranded(self) -> bool:
        """Whether jobs wait here and nobody would take them."""
        return bool(self.waiting) and not self.is_consumed and not self.is_paused


def queues(reporting: Sequence[Reporting]) -> list[Queue]:
    """Return each installed queue and each in which jobs wait, the longest waiting first."""
    waiting = set(due.waiting_queues())
    paused = set(Pause.objects.filter(resumed_at=None).exclude(queue="").values_list("queue", flat=True))
    found = []
    for name in sorted(waiting | set(installed_subscriptions().queues)):
        seen = due.waiting_in(name, most=counts.FEW + 1) if name in waiting else due.Waiting()
        found.append(
            Queue(
                name=name,
                waiting=Capped(seen.jobs, counts.FEW),
                paused=Capped(seen.paused_jobs, counts.FEW),
                oldest_seconds=seen.oldest_seconds,
                is_paused=live_queue(name) in paused,
                is_consumed=any(worker.consumes(name) for worker in reporting),
            )
        )
    return sorted(found, key=lambda queue: -queue.oldest_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """How many workers are in which state, and how many of their places are taken."""

    states: Mapping[str, int]
    busy: int
    slots: int

    @property
    def ready(self) -> int:
        return self.states.get("ready", 0)

    @property
    def lost(self) -> int:
        return self.states.get("lost", 0)

    @property
    def total(self) -> int:
        return sum(self.states.values())


def workers(reporting: Sequence[Reporting]) -> Workers:
    """Count what the workers said of themselves; those that have stopped do not count."""
    states = dict.fromkeys(_STATES, 0) | Counter(worker.state for worker in reporting)
    return Workers(
        states=states | {inbox.LOST: inbox.count_lost()},
        busy=sum(worker.busy for worker in reporting),
        slots=sum(worker.slots for worker in reporting),
    )


def with_secret(now: datetime) -> list[Source]:
    """Return the sources of which a delivery has lately carried a secret in a header."""
    return list(Source.objects.filter(encoded_secret_at__gt=now - ALARM_SHOWN).order_by("name"))


@dataclass(frozen=True, slots=True)
class Relay:
    """When a relay has last done its upkeep."""

    written_at: datetime | None
    age: timedelta | None

    @property
    def is_late(self) -> bool:
        return self.age is None or self.age > RELAY_LATE_AFTER

    @property
    def in_words(self) -> str:
        """Return the fault; empty if there is none."""
        if self.age is None:
            return "no relay has worked here yet"
        return f"no relay for {rough(self.age)}" if self.is_late else ""


@dataclass(frozen=True, slots=True)
class Status:
    """The sentence at the top, and whether somebody should look."""

    sentence: str
    level: str
    """"good", "warning" or "bad"."""


def status(
    *,
    issues: int | None,
    queues: Iterable[Queue],
    workers: Workers | None,
    relay: Relay,
    sources: Iterable[SourceStanding] = (),
) -> Status:
    """Say it in one sentence. None stands for what the user may not see."""
    parts, levels = [], []
    if issues is not None:
        parts.append("no open issue" if not issues else f"{issues:,} open issue{'s' if issues > 1 else ''}")
        levels.append("warning" if issues else "good")
    oldest = max((queue.oldest_seconds for queue in queues if queue.waiting), default=None)
    parts.append("nothing waits" if oldest is None else f"oldest queued {rough(timedelta(seconds=oldest))}")
    levels.append("warning" if (oldest or 0.0) > OLD_SECONDS else "good")
    for queue in queues:
        if queue.is_stranded:
            parts.append(f"nobody consumes {queue.name}")
            levels.append("bad")
    if workers is not None:
        parts.append(f"{workers.ready} of {workers.total} worker{'' if workers.total == 1 else 's'} ready")
        levels.append("bad" if not workers.ready else "warning" if workers.lost else "good")
    if relay.is_late:
        parts.append(relay.in_words)
        levels.append("bad")
    for source in sources:
        if source.fault:
            parts.append(source.fault)
            levels.append("warning" if source.current else "bad")
    sentence = "; ".join(parts)
    return Status(f"{sentence[:1].upper()}{sentence[1:]}.", max(levels, key=["good", "warning", "bad"].index))
