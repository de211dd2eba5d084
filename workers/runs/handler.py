"""Runs a handler and says how it ended. The one broad except of Hookline stands here.

A child process of the worker gets two signals from its parent: SIGUSR1 is the soft time limit, SIGTERM the hard one or
the end of a stop. Both may interrupt the handler, and nothing else of the run: not the claim, and not the record of an
outcome that is already known.
"""

import inspect
import os
import signal
import time
import traceback
from collections.abc import Callable
from types import FrameType

from billiard.exceptions import SoftTimeLimitExceeded

from webhooks.inbox.outcomes import Outcome, fingerprint
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.event import Event, GiveUp, RetryLater, Run
from webhooks.subscriptions.subscription import Subscription
from workers.stopping.flag import is_stopping

LONGEST_TRACEBACK = 20_000
LIMIT_TOLERANCE = 0.95
"""A limit's signal that comes before this share of the limit was meant for the run before."""


class Terminated(BaseException):
    """SIGTERM reached the child while its handler ran."""


class HandlerWindow:
    """Lets the limits and a stop reach the handler, and only the handler.

    Use one for each run, on the main thread: open from `__enter__` to `__exit__`. A SIGTERM outside of it is kept for
    `leave`, which gives the child's own disposition its turn.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._soft_time_limit = subscription.soft_time_limit
        self._started = time.monotonic()
        self._pid = os.getpid()
        self._is_open = False
        self._term_came = False
        self._on_soft_limit = signal.signal(signal.SIGUSR1, self._soft_limit)
        self._on_term = signal.signal(signal.SIGTERM, self._term)

    def __enter__(self) -> "HandlerWindow":
        self._is_open = True
        if self._term_came:
            raise Terminated
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._is_open = False
        if os.getpid() != self._pid:  # The handler has forked, and this would go on as a second child of the worker.
            status = getattr(error, "code", 1) if error else 0
            os._exit(status if isinstance(status, int) else 1)

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started

    def leave(self) -> None:
        """Give the signals back. A SIGTERM that came takes its effect now, unless the worker stops and had sent it.

        Then the run is recorded, and the child tells its parent so, and ends as it would have without.
        """
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        signal.signal(signal.SIGTERM, self._on_term)
        if self._term_came and not is_stopping():
            signal.raise_signal(signal.SIGTERM)

    def _soft_limit(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_open and self.elapsed_seconds >= self._soft_time_limit * LIMIT_TOLERANCE:
            raise SoftTimeLimitExceeded

    def _term(self, _number: int, _frame: FrameType | None) -> None:
        self._term_came = True
        if self._is_open:
            raise Terminated


def run_handler(subscription: Subscription, event: Callable[[], Event], run: Run, window: HandlerWindow) -> Outcome:
    """Make the event and call the handler with it, inside the window; return how it ended, whatever it raised."""
    try:
        with window:
            given = (event(), run) if subscription.takes_run else (event(),)
            result = subscription.handler(*given)
            if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
                raise TypeError(f"The handler returned {type(result).__name__}: nothing of it has run.")
            message = "" if result is None else str(result)
    except RetryLater as later:
        return Outcome(kind=AttemptOutcome.RETRY_LATER, message=str(later), after_seconds=later.after_seconds)
    except Terminated as error:
        return _terminated(subscription, error, window)
    except BaseException as error:
        # BaseException: a handler may call sys.exit() or run out of memory, and has its outcome all the same.
        return _failure(subscription, error)
    return Outcome(kind=AttemptOutcome.SUCCEEDED, message=message)


def _terminated(subscription: Subscription, error: Terminated, window: HandlerWindow) -> Outcome:
    """Tell the hard time limit from a stop: both come as SIGTERM."""
    limit = subscription.time_limit
    if window.elapsed_seconds < limit * LIMIT_TOLERANCE:
        return Outcome(kind=AttemptOutcome.HANDED_BACK, message="The worker stopped before the handler was done.")
    return _told(subscription, error, AttemptOutcome.HARD_LIMIT, f"The hard time limit of {limit:g} s was reached.")


def _failure(subscription: Subscription, error: BaseException) -> Outcome:
    if isinstance(error, SoftTimeLimitExceeded):
        limit = f"The soft time limit of {subscription.soft_time_limit:g} s was reached."
        return _told(subscription, error, AttemptOutcome.SOFT_LIMIT, limit)
    text = "".join(traceback.format_exception_only(error)).strip()
    kind = AttemptOutcome.GAVE_UP if isinstance(error, GiveUp) else AttemptOutcome.FAILED
    return _told(subscription, error, kind, str(error) if kind is AttemptOutcome.GAVE_UP else text)


def _told(subscription: Subscription, error: BaseException, kind: AttemptOutcome, message: str) -> Outcome:
    return Outcome(
        kind=kind,
        message=message,
        traceback=_formatted(error),
        fingerprint=fingerprint(subscription.name, type(error).__name__, _place(subscription, error)),
    )


def _place(subscription: Subscription, error: BaseException) -> str:
    """Return the function of the handler's own module that was left last; libraries below it vary more."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(subscription.handler))
    except TypeError:  # A handler that is no plain function.
        return ""
    own = [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return own[-1] if own else ""


def _formatted(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return (
        text
        if len(text) <= LONGEST_TRACEBACK
        else f"{text[: LONGEST_TRACEBACK // 2]}\n…\n{text[-LONGEST_TRACEBACK // 2 :]}"
    )
