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
from webhooks.inbox.destinations.running import Forwarded
from webhooks.inbox.outcomes import Outcome
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.event import Event, Run
from webhooks.subscriptions.subscription import Subscription
from workers.runs.slots import Running
from workers.stopping.flag import is_stopping


class Terminated(BaseException):
    """SIGTERM reached the child while its handler ran."""


class HandlerWindow:
    """Lets the limits and a stop reach the handler, and only the handler.

    Use one for each turn, on the main thread: open for each run from `__enter__` to `__exit__`. A SIGTERM outside of a
    run is kept for `leave`, which restores the child's own signal handlers.
    """

    def __init__(self) -> None:
        self._running: Running | None = None
        self._pid = os.getpid()
        self._is_open = False
        self._term_came = False
        self._on_soft_limit = signal.signal(signal.SIGUSR1, self._soft_limit)
        self._on_term = signal.signal(signal.SIGTERM, self._term)

    def of(self, running: Running) -> "HandlerWindow":
        """Return this window for the next run, with its limits."""
        self._running = running
        return self

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
    def is_past_hard_limit(self) -> bool:
        return self._running is not None and time.monotonic() >= self._running.hard_limit_at

    def leave(self) -> None:
        """Restore the signal handlers. A SIGTERM that came meanwhile takes effect now, unless it came from a stop.

        In a stop the run is recorded first, and the child then ends as any other does.
        """
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        signal.signal(signal.SIGTERM, self._on_term)
        if self._term_came and not is_stopping():
            signal.raise_signal(signal.SIGTERM)

    def _soft_limit(self, _number: int, _frame: FrameType | None) -> None:
        # The signal may have been sent for the run before.
        if self._is_open and self._running and time.monotonic() >= self._running.soft_limit_at:
            raise SoftTimeLimitExceeded

    def _term(self, _number: int, _frame: FrameType | None) -> None:
        self._term_came = True
        if self._is_open:
            raise Terminated


def run_handler(
    subscription: Subscription, event: Callable[[], Event | Forwarded], run: Run, window: HandlerWindow
) -> Outcome:
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
    if not window.is_past_hard_limit:
        return Outcome(kind=AttemptOutcome.HANDED_BACK, message="The worker stopped before the handler was done.")
    limit = f"The hard time limit of {subscription.time_limit:g} s was reached."
    return failure(subscription, error, AttemptOutcome.HARD_LIMIT, limit)
