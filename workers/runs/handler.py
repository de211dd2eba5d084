"""Runs a handler and returns the outcome. Hookline's only broad `except` around handlers is here.

A child process of the worker gets two signals from its parent: SIGUSR1 is the soft time limit, SIGTERM the hard one or
the end of a stop. Both may interrupt the handler. They must not interrupt the claim, nor the record of an outcome.
"""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from billiard.exceptions import SoftTimeLimitExceeded

from webhooks.inbox.calls import call, failure, outcome_of
from webhooks.inbox.outcomes import Outcome
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.event import Event, Run
from webhooks.subscriptions.subscription import Subscription
from workers.stopping.flag import is_stopping

LIMIT_TOLERANCE = 0.95
"""A limit's signal that comes before this share of the limit was sent for the child's previous run."""


class Terminated(BaseException):
    """SIGTERM reached the child while its handler ran."""


class HandlerWindow:
    """Lets the limits and a stop reach the handler, and only the handler.

    Use one for each run, on the main thread. It is open from `__enter__` to `__exit__`. A SIGTERM that comes while it
    is closed is kept until `leave`, which restores the child's own signal handlers.
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
        if os.getpid() != self._pid:  # The handler has forked: this process must not go on as a second child.
            status = getattr(error, "code", 1) if error else 0
            os._exit(status if isinstance(status, int) else 1)

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started

    def leave(self) -> None:
        """Restore the signal handlers. A SIGTERM that came meanwhile takes effect now, unless the worker stops.

        When the worker stops, the run has been recorded, and the child ends as every child does.
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
            return call(subscription, event(), run)
    except Terminated as error:
        return _terminated(subscription, error, window)
    except BaseException as error:
        # BaseException: a handler may call sys.exit() or run out of memory; its run still gets an outcome.
        return outcome_of(subscription, error)


def _terminated(subscription: Subscription, error: Terminated, window: HandlerWindow) -> Outcome:
    """Tell the hard time limit from a stop: both come as SIGTERM."""
    limit = subscription.time_limit
    if window.elapsed_seconds < limit * LIMIT_TOLERANCE:
        return Outcome(kind=AttemptOutcome.HANDED_BACK, message="The worker stopped before the handler was done.")
    return failure(subscription, error, AttemptOutcome.HARD_LIMIT, f"The hard time limit of {limit:g} s was reached.")
