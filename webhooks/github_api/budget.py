"""How long a call must wait, by what GitHub's answers say of the rate limits. No I/O.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

RESERVE = 0.2
"""The share of the limit that is left to more urgent calls: the reconciler leaves it to handlers, and replayed jobs to
those of live webhooks."""
UNNAMED_SECONDS = 60.0
"""GitHub asks to wait for a minute at least where its answer does not say how long."""


def date_of(headers: Mapping[str, str]) -> datetime:
    """Return GitHub's time as it answered, or this machine's where the answer has none that can be read."""
    try:
        at = parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def is_limit(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Tell whether an answer refuses the call for a rate limit, primary or secondary."""
    if status != 403:
        return status == 429
    is_named = "Retry-After" in headers or b"secondary rate limit" in body
    return is_named or _number(headers, "x-ratelimit-remaining") == 0


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """Return for how long the answer that a limit gave asks to wait."""
    named = _number(headers, "Retry-After")
    if named is not None:
        return named
    if _number(headers, "x-ratelimit-remaining") == 0 and (until := _until_reset(headers)) is not None:
        return until
    return UNNAMED_SECONDS


class Seen(NamedTuple):
    """What the answers of one run said of its installation's limit. A tuple, since it goes from process to process."""

    remaining: int | None = None
    most: int | None = None
    resets_in_seconds: float = 0.0
    closed_seconds: float = 0.0
    """For how long GitHub asks to call no more; 0 while the limit is not reached."""

    @property
    def is_below_reserve(self) -> bool:
        """Tell whether only the share is left that is kept for live webhooks."""
        return bool(self.most and self.remaining is not None and self.remaining <= self.most * RESERVE)


def seen_in(headers: Mapping[str, str]) -> Seen | None:
    """Return what an answer says of the common limit; None if it says nothing, or speaks of another resource's."""
    remaining, most = _number(headers, "x-ratelimit-remaining"), _number(headers, "x-ratelimit-limit")
    if remaining is None or most is None or headers.get("x-ratelimit-resource", "core") != "core":
        return None
    return Seen(int(remaining), int(most), _until_reset(headers) or 0.0)


def _until_reset(headers: Mapping[str, str]) -> float | None:
    reset = _number(headers, "x-ratelimit-reset")
    return None if reset is None else max(0.0, reset - date_of(headers).timestamp()) + 1.0


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        number = float(headers[name])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


@dataclass(slots=True)
class Budget:
    """What is left of the primary limit, by the last answer."""

    _wait: float = 0.0
    _noted_at: float = 0.0

    def note(self, headers: Mapping[str, str], *, now: float) -> None:
        """Note an answer's headers, `now` being the monotonic clock's time."""
        limit, left = _number(headers, "x-ratelimit-limit"), _number(headers, "x-ratelimit-remaining")
        is_spent = limit is not None and left is not None and left <= limit * RESERVE
        self._wait = (_until_reset(headers) or 0.0) if is_spent else 0.0
        self._noted_at = now

    def seconds(self, *, now: float) -> float:
        """Return how long to wait until the limit begins anew; 0 if there is something left above the reserve."""
        return max(0.0, self._noted_at + self._wait - now)
