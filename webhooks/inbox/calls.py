"""Calls a handler, and decides the outcome. No I/O of its own.

Both the worker and `webhooks.testing` use this, so that a test sees the outcome that production would record.
"""

import inspect
import traceback
from typing import TYPE_CHECKING

from billiard.exceptions import SoftTimeLimitExceeded

from webhooks.destination_handlers import NotForwardedError
from webhooks.inbox.outcomes import Outcome, failure_fingerprint, one_line, storable
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.event import Event, GiveUp, LimitReached, RetryLater, Run
from webhooks.subscriptions.subscription import Subscription

if TYPE_CHECKING:
    from webhooks.inbox.destinations.running import Forwarded

LONGEST_TRACEBACK = 20_000


def call(subscription: Subscription, event: "Event | Forwarded", run: Run) -> Outcome:
    """Call the handler; return the outcome `succeeded` with its result. Raises whatever the handler raises."""
    given = (event, run) if subscription.takes_run else (event,)
    result = subscription.handler(*given)
    if result is None:
        return Outcome(kind=AttemptOutcome.SUCCEEDED)
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(f"The handler returned {type(result).__name__}: nothing of it has run.")
    return Outcome(kind=AttemptOutcome.SUCCEEDED, message=one_line(str(result)))


def outcome_of(subscription: Subscription, error: BaseException) -> Outcome:
    """Return the outcome of a run whose handler raised this error."""
    if isinstance(error, RetryLater):
        return Outcome(
            kind=AttemptOutcome.RETRY_LATER,
            message=one_line(str(error)),
            after_seconds=error.after_seconds,
            is_put_off=isinstance(error, LimitReached),
        )
    if isinstance(error, NotForwardedError):
        return _not_forwarded(subscription, error)
    if isinstance(error, SoftTimeLimitExceeded):
        limit = f"The soft time limit of {subscription.soft_time_limit:g} s was reached."
        return failure(subscription, error, AttemptOutcome.SOFT_LIMIT, limit)
    if isinstance(error, GiveUp):
        return failure(subscription, error, AttemptOutcome.GAVE_UP, str(error))
    text = "".join(traceback.format_exception_only(error)).strip()
    return failure(subscription, error, AttemptOutcome.FAILED, text)


def failure(subscription: Subscription, error: BaseException, kind: AttemptOutcome, message: str) -> Outcome:
    """Return an outcome with the error's traceback, and the fingerprint that groups it with others like it."""
    return Outcome(
        kind=kind,
        message=one_line(message),
        traceback=_formatted(error),
        fingerprint=failure_fingerprint(subscription.name, type(error).__name__, _place(subscription, error)),
    )


def _not_forwarded(subscription: Subscription, error: NotForwardedError) -> Outcome:
    """Return the outcome with how the target's answer began, where other handlers have their traceback."""
    return Outcome(
        kind=AttemptOutcome.GAVE_UP if error.is_final else AttemptOutcome.FAILED,
        message=one_line(str(error)),
        traceback=storable(f"{error}\n\nThe answer began:\n{error.answer}" if error.answer else ""),
        fingerprint=failure_fingerprint(subscription.name, "NotForwarded", error.kind),
    )


def _place(subscription: Subscription, error: BaseException) -> str:
    """Return the innermost function of the handler's own module in the traceback. Frames of libraries vary more."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(subscription.handler))
    except TypeError:  # A handler that is no plain function.
        return ""
    own = [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return own[-1] if own else ""


def _formatted(error: BaseException) -> str:
    text = storable("".join(traceback.format_exception(error)))
    return (
        text
        if len(text) <= LONGEST_TRACEBACK
        else f"{text[: LONGEST_TRACEBACK // 2]}\n…\n{text[-LONGEST_TRACEBACK // 2 :]}"
    )
