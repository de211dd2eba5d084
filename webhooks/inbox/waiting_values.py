"""The answer to why a job waits, and the facts that it depends on. `waiting_facts.py` reads the facts.

A figure that is not known is None, or empty.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MOST_AHEAD = 10_000
"""So many jobs before this one are counted."""


class Kind(StrEnum):
    """What a job waits for, or what holds it."""

    NOT_DUE = "not due"
    BEHIND_OTHERS = "behind others"
    NEXT = "next"
    IN_ORDER = "in order"
    PAUSED = "paused"
    API_LIMIT = "api limit"
    NO_CONSUMER = "no consumer"
    NO_HANDLER = "no handler"
    MOVING = "moving"
    CLAIMED = "claimed"
    RUNNING = "running"
    LOST = "lost"


_TROUBLE = frozenset({Kind.PAUSED, Kind.NO_CONSUMER, Kind.NO_HANDLER, Kind.LOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The answer."""

    kind: Kind
    sentence: str
    job_id: int | None = None
    """The job that the sentence names, if one."""

    @property
    def is_trouble(self) -> bool:
        """Tell whether somebody may have to do something."""
        return self.kind in _TROUBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A pause that holds the job: of its queue or of its handler."""

    what: str
    """For example "queue default"."""
    who: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Limit:
    """GitHub's rate limit of the job's installation, which is reached."""

    installation_id: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The job that has the turn among those with the same key."""

    job_id: int
    state: str
    key: str
    """Of what the handler runs one job at a time, as it declares it: "pull_request"."""
    ahead: int = 0
    """How many others of the key come before this job: MOST_AHEAD + 1 stands for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The workers that have reported a moment ago."""

    reporting: int = 0
    """How many there are."""
    ready: int = 0
    """How many of them consume from the job's queue."""
    slots: int = 0
    free_slots: int = 0
    """Of those that are ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is known of the worker that has the job."""

    worker: str
    since: datetime | None
    lease_until: datetime | None
    limit_seconds: float | None = None
    """The handler's hard time limit; None if no such handler is installed."""
    silent_seconds: float | None = None
    """How long ago the worker reported; None if it never did."""
    has_stopped: bool = False
    """Whether it is lost, or has said that it stopped."""
    pid: int = 0
    ran_seconds: float | None = None
    """For how long the run has gone on; None if the worker's report does not have it."""
    fate: str = "it runs again"
    """What becomes of the job if this run is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the answer depends on."""

    now: datetime
    """By the database's clock, as are all moments."""
    state: str
    handler: str
    queue: str
    publish_at: datetime | None
    spent: int
    max_attempts: int
    last_outcome: str = ""
    handler_queue: str | None = None
    """The queue of the installed handler of that name; None if there is none."""
    held: Held | None = None
    turn: Turn | None = None
    """If it waits for another job's turn: whose."""
    limit: Limit | None = None
    fleet: Fleet = Fleet()
    ahead: int = 0
    """How many due jobs of the queue are claimed before this one: MOST_AHEAD + 1 stands for more."""
    jobs_a_second: float | None = None
    """How many jobs of the queue have ended a second lately; None if too few to tell."""
    claim: Claim | None = None
