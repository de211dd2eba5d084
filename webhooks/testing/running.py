"""Runs one handler in this process, and returns the outcome that a worker would record. No inbox, no broker."""

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from webhooks.inbox.foreground import ended
from webhooks.inbox.outcomes import Outcome
from webhooks.subscriptions.event import Event, Run
from webhooks.subscriptions.subscription import Defaults, Subscription, discover

if TYPE_CHECKING:
    from webhooks.testing.github import FakeGitHub

DEFAULTS = Defaults(queue="default", time_limit=60.0, max_attempts=5)


def run_handler(
    handler: Callable[..., Any],
    event: Event,
    /,
    *,
    attempt: int = 1,
    stopping: Callable[[], bool] = lambda: False,
    github: "FakeGitHub | None" = None,
) -> Outcome:
    """Run the handler with the event; return the outcome: `kind`, `message`, `traceback`, `after_seconds`.

    `kind` is "succeeded", "retry_later", "gave_up", "failed" or "soft_limit" (only if the handler itself raises
    SoftTimeLimitExceeded: no limit is enforced here). `github` is what `run.github`
    gives. Raises ValueError if the handler is not subscribed to this event.
    """
    for subscription in _subscriptions_of(handler):
        if subscription.matches(event.name, event.action, event.payload):
            return ended(subscription, lambda: event, run_of(attempt, stopping=stopping, github=github))
    raise ValueError(
        f"{handler!r} is not subscribed to this event ({event.name}, {event.action or 'without an action'}): "
        "a worker would not run it. Compare its `@on(...)`, `actions` and `where`."
    )


def run_of(attempt: int, *, stopping: Callable[[], bool], github: "FakeGitHub | None") -> Run:
    """Return a run whose `run.github` is the stand-in, or refuses where there is none."""
    if github is None:
        return Run(attempt=attempt, stopping=stopping)
    return Run(attempt=attempt, stopping=stopping, open_github=lambda: github.client)


def is_subscribed(handler: Callable[..., Any], event: Event, /) -> bool:
    """Tell whether a delivery of this event would make a job for the handler."""
    return any(one.matches(event.name, event.action, event.payload) for one in _subscriptions_of(handler))


def _subscriptions_of(handler: Callable[..., Any]) -> list[Subscription]:
    module = ModuleType(handler.__module__)
    vars(module)["handler"] = handler
    package = handler.__module__.rpartition(".")[0]
    if found := list(discover([(package.rpartition(".")[2], module)], defaults=DEFAULTS)):
        return found
    raise ValueError(f"{handler!r} is not declared as a handler: put `@on(...)` above it.")
