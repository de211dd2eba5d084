"""A handler's arguments, the event and the run, and the exceptions that it may raise. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The content of one delivery, for one handler."""

    name: str
    """GitHub's name for the event, such as "pull_request"."""
    action: str
    """The payload's action, such as "opened"; empty for events without one."""
    payload: Mapping[str, Any]
    """The parsed JSON object, as GitHub sent it. See `webhooks/github/json_text.py` on huge numbers."""
    delivery: str
    """GitHub's GUID of the event; a redelivery keeps it."""
    source: str
    """The source's name, such as "github"."""
    hook_id: int
    """GitHub's id of the hook that sent it; 0 if the header was absent."""
    repository: str
    """The repository's full name, such as "acme/widgets"; empty if there is none."""
    installation_id: int | None
    sender: str
    """The login of the user who caused the event; empty if there is none."""
    received_at: datetime
    idempotency_key: str
    """The same in every run of this handler for this delivery, and different for every other handler or delivery.

    With `once_per_event` it is also the same for every hook that sends the event.
    """


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt, as its handler sees it. Declare a second parameter named `run` to get it."""

    attempt: int
    """1 for the first run of the job."""
    stopping: Callable[[], bool]
    """Returns True when the worker is to stop: a long handler may raise RetryLater, to run again elsewhere."""


class RetryLater(Exception):  # noqa: N818  Handlers read better without "Error".
    """Raised by a handler: run this job again later. The first ten times cost no attempt."""

    def __init__(self, reason: str = "", *, after: float | timedelta = 60.0) -> None:
        """`after` is in seconds, or a timedelta."""
        super().__init__(reason)
        self.after_seconds = max(0.0, after.total_seconds() if isinstance(after, timedelta) else float(after))


class GiveUp(Exception):  # noqa: N818
    """Raised by a handler: this job can never succeed. It is dead at once, with this reason."""
