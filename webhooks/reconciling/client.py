"""Calls GitHub's REST API as an App or with a token: waits, tries again, and counts the calls.

githubkit signs in; the calls are made with the httpx client that it prepares (`webhooks/github_api/kit.py`). It is
imported only when a log is read, since it takes some 40 MB.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webhooks.github import json_text
from webhooks.github_api.access import HookAccess
from webhooks.github_api.budget import Budget, date_of, is_limit, seconds_to_wait
from webhooks.reconciling.errors import LimitedError, RefusedError, StoppedError, UnavailableError
from webhooks.subscriptions.subscription import Backoff

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 20.0
ANSWER_SECONDS = 60.0
"""For a whole answer, however steadily it comes."""
LARGEST_ANSWER = 128 * 1024 * 1024
"""A payload of 25 MB may be longer in the API's JSON; no answer is kept beyond this."""
MOST_TRIES = 4
BACKOFF = Backoff(first=1.0, longest=20.0)
LONGEST_WAIT_SECONDS = 120.0
"""For a rate limit that ends later a pass stops, and goes on when it is called again."""
MOST_WAITS = 5

Wait = Callable[[float], bool]
"""Waits so many seconds, or until a stop is asked for; tells whether it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What GitHub answered."""

    value: Any
    headers: Mapping[str, str]
    date: datetime


class Client:
    """The API for one hook. Use it in a `with` block."""

    def __init__(self, access: HookAccess, *, wait: Wait, alive: Callable[[], None] = lambda: None) -> None:
        self._access, self._wait, self._alive = access, wait, alive
        self._budget = Budget()
        self._open = ExitStack()
        self._http: Any = None
        self._key_error: type[Exception] = Exception
        self.calls = 0

    def __enter__(self) -> "Client":
        from jwt import PyJWTError

        self._key_error = PyJWTError
        self._http = self._open.enter_context(_github_for(self._access).get_sync_client())
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def call(self, method: str, path: str, **params: Any) -> Answer:
        """Return the answer. Raises ApiError, or StoppedError."""
        tries = waits = 0
        while True:
            self._wait_for(self._budget.seconds(now=time.monotonic()), "keeps no call but those in reserve")
            status, headers, body = self._send(method, path, params)
            if is_limit(status, headers, body):
                waits += 1
                self._wait_for(seconds_to_wait(headers), "has a rate limit", is_last=waits >= MOST_WAITS)
            elif 0 < status < 300:
                return Answer(_value_of(body), headers, date_of(headers))
            elif 0 < status < 500:
                raise RefusedError(_refusal(status, headers, body), status=status)
            else:
                tries += 1
                self._try_again(tries, body.decode() if status == 0 else f"answers {status}")

    def _send(self, method: str, path: str, params: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Return the status, 0 where there is no whole answer, the headers, and the body, or why there is none."""
        import httpx

        self._alive()
        if self._wait(0):
            raise StoppedError
        self.calls += 1
        until = time.monotonic() + ANSWER_SECONDS
        try:
            with self._http.stream(method, path, params=params) as answer:
                result = answer.status_code, answer.headers, _read(answer, until=until)
        except httpx.TimeoutException:
            return 0, {}, b"does not answer in time"
        except _TooSlowError:
            return 0, {}, b"does not end its answer in time"
        except httpx.HTTPError as error:
            return 0, {}, f"cannot be reached ({type(error).__name__})".encode()
        except (ValueError, TypeError, self._key_error) as error:  # As the key is read to sign with it.
            reason = f"cannot be called with this key or token ({type(error).__name__})"
            raise RefusedError(reason, status=401) from None
        self._budget.note(result[1], now=time.monotonic())
        return result

    def _try_again(self, tries: int, reason: str) -> None:
        if tries >= MOST_TRIES:
            raise UnavailableError(reason)
        self._pause(BACKOFF.seconds(tries))

    def _wait_for(self, seconds: float, reason: str, *, is_last: bool = False) -> None:
        """Wait for a limit's end. Raises LimitedError if that is too far away."""
        if seconds > LONGEST_WAIT_SECONDS or is_last:
            raise LimitedError(f"{reason}; the next call is possible in {seconds:.0f} s", seconds=seconds)
        if seconds > 0:
            # A little later, so that not all that wait for it call at the same moment.
            self._pause(seconds + BACKOFF.seconds(1))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._alive()
            if self._wait(min(left, SILENT_SECONDS)):
                raise StoppedError


class _TooSlowError(Exception):
    """An answer that comes, but takes too long."""


def _github_for(access: HookAccess) -> Any:
    import httpx
    from githubkit import AppAuthStrategy, TokenAuthStrategy

    from webhooks.github_api.kit import client

    auth = AppAuthStrategy(access.app_id, access.private_key) if access.private_key else TokenAuthStrategy(access.token)
    return client(auth, access.api_url, timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS))


def _read(answer: Any, *, until: float) -> bytes:
    parts, size = [], 0
    for part in answer.iter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise RefusedError("answers with more than can be read", status=200)
        if time.monotonic() > until:
            raise _TooSlowError
        parts.append(part)
    return b"".join(parts)


def _value_of(body: bytes) -> Any:
    try:
        return json_text.loads(body) if body.strip() else None
    except ValueError:
        raise RefusedError("answers with what is no JSON", status=200) from None


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> str:
    try:
        said = json_text.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        said = ""
    words = f"answers {status}: {said[:200]}" if isinstance(said, str) and said.isprintable() else f"answers {status}"
    apart = abs(date_of(headers).timestamp() - time.time())
    return f"{words} (its clock and this one are {apart:.0f} s apart)" if status == 401 and apart > 30 else words
