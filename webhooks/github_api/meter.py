"""Watches the rate limit of one installation during a run: what its answers say, and whether a call may be made.

GitHub counts the calls of each installation by itself. Who goes on calling after a refusal may be shut out.
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from webhooks.github_api.budget import Seen, is_limit, seconds_to_wait, seen_in
from webhooks.github_api.sharing import Shared
from webhooks.subscriptions.event import LimitReached

SPREAD_SECONDS = 10.0
"""Runs that wait for the same moment begin within so many seconds after it."""
LONGEST_SECONDS = 6 * 3600.0
"""GitHub's limits begin anew after an hour at most."""
_CLOSED = "closed"


class Meter:
    """The limit, as one run knows it. With `keeps_reserve` the last fifth of it counts as reached."""

    def __init__(self, source: str, installation_id: int, *, keeps_reserve: bool, shared: Shared) -> None:
        self._name, self._installation = f"{source}:{installation_id}", installation_id
        self._keeps_reserve, self._shared = keeps_reserve, shared
        self._seen: Seen | None = None
        self._seen_at = 0.0

    @property
    def seen(self) -> Seen | None:
        """What the last answer said, as of now; None if there was no call."""
        if self._seen is None:
            return None
        ago = time.monotonic() - self._seen_at
        left, closed = (max(0.0, value - ago) for value in (self._seen.resets_in_seconds, self._seen.closed_seconds))
        return self._seen._replace(resets_in_seconds=left, closed_seconds=closed)

    def check(self) -> None:
        """Raise LimitReached if no call may be made now."""
        until = self._shared.get(_CLOSED, self._name)
        if until is not None and (seconds := float(until) - time.time()) > 0:
            self._put_off(seconds)
        seen = self.seen
        if self._keeps_reserve and seen is not None and seen.is_below_reserve and seen.resets_in_seconds > 0:
            self._put_off(seen.resets_in_seconds, "has only what is kept for live webhooks left")

    def note(self, status: int, headers: Mapping[str, str], body: bytes, *, is_own: bool = True) -> None:
        """Note an answer, `is_own` if it counts against this limit. Raises LimitReached if it refuses for a limit."""
        seen = seen_in(headers) if is_own else None
        if seen is not None:
            self._seen, self._seen_at = seen, time.monotonic()
        if not is_limit(status, headers, body):
            return
        seconds = min(max(seconds_to_wait(headers), 1.0), LONGEST_SECONDS)
        # Another resource's limit, such as the search's, says nothing of other calls.
        if headers.get("x-ratelimit-resource", "core") == "core":
            self._shared.put(_CLOSED, self._name, str(time.time() + seconds).encode(), seconds=seconds)
            self._seen, self._seen_at = (self.seen or Seen())._replace(closed_seconds=seconds), time.monotonic()
        self._put_off(seconds)

    def _put_off(self, seconds: float, what: str = "is reached") -> NoReturn:
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        after = seconds + random.uniform(0.0, SPREAD_SECONDS)  # noqa: S311  Nobody gains by guessing it.
        reason = f"GitHub's rate limit of installation {self._installation} {what} until {until:%H:%M:%S} UTC."
        raise LimitReached(reason, after=after)
