"""A handler's arguments, the event and the run, and the exceptions that it may raise. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from githubkit import GitHub


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


def no_client() -> Any:
    """Refuse a client: the default of a run that nobody has given one."""
    raise NoGitHubAccess("Nothing has given this run a client of GitHub's API.")


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt, as its handler sees it. Declare a second parameter named `run` to get it."""

    attempt: int
    """1 for the first run of the job."""
    stopping: Callable[[], bool]
    """Returns True when the worker is to stop: a long handler may raise RetryLater, to run again elsewhere."""
    open_github: Callable[[], Any] = field(default=no_client, repr=False)

    @property
    def github(self) -> "GitHub[Any]":
        """The client of GitHub's REST API for the event's installation: https://yanyongyu.github.io/githubkit/.

        Made at its first use. Raises NoGitHubAccess where the App's key or the installation is not known.
        """
        client: GitHub[Any] = self.open_github()
        return client


class RetryLater(Exception):  # noqa: N818  Handlers read better without "Error".
    """Raised by a handler: run this job again later. The first ten times cost no attempt."""

    def __init__(self, reason: str = "", *, after: float | timedelta = 60.0) -> None:
        """`after` is in seconds, or a timedelta."""
        super().__init__(reason)
        self.after_seconds = max(0.0, after.total_seconds() if isinstance(after, timedelta) else float(after))


class GiveUp(Exception):  # noqa: N818
    """Raised by a handler: this job can never succeed. It is dead at once, with this reason."""


class LimitReached(RetryLater):
    """Raised by a call of `run.github`: a rate limit of GitHub's leaves none. The job runs again after its reset.

    However often that happens, it costs no attempt while the job is young enough (`HOOKLINE_MAX_AGE_HOURS`).
    """


class NoGitHubAccess(GiveUp):
    """Raised by `run.github`: there is no App to call GitHub's API as, or the event is of no installation."""
