"""System checks: what is wrong with a subscription is said at start, in one sentence, by its name."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from webhooks.apps import installed_subscriptions
from webhooks.github_events import EVENT_NAMES
from webhooks.matching import EVERY_EVENT
from webhooks.subscriptions import Subscription, Subscriptions

_QUEUE = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


@register("webhooks")
def check_subscriptions(app_configs: Any = None, **_options: Any) -> list[CheckMessage]:
    return list(judge(installed_subscriptions()))


def judge(subscriptions: Subscriptions) -> Iterator[CheckMessage]:
    """Yield an error or a warning for everything about the subscriptions that makes no sense."""
    for name, count in Counter(subscription.name for subscription in subscriptions).items():
        if count > 1:
            yield Error(
                f"{count} subscriptions are named {name!r}.",
                hint="Rename a function, or give one a name of its own with @on(..., name=...).",
                id="webhooks.E001",
            )
    for subscription in subscriptions:
        yield from _faults(subscription)


def _faults(subscription: Subscription) -> Iterator[CheckMessage]:
    def error(number: int, sentence: str) -> Error:
        return Error(f"Subscription {subscription.name!r}: {sentence}", id=f"webhooks.E{number:03}")

    if not _NAME.fullmatch(subscription.name):
        yield error(2, "its name must be 1 to 200 letters, digits, dots, hyphens and underscores.")
    if not _QUEUE.fullmatch(subscription.queue):
        yield error(3, f"queue {subscription.queue!r} must be 1 to 100 letters, digits, dots, hyphens and underscores.")
    if not subscription.events:
        yield error(4, "it names no event.")
    if not subscription.time_limit >= 1:
        yield error(5, f"time_limit is {subscription.time_limit:g} s; it must be 1 or more.")
    elif not 0 < subscription.soft_time_limit < subscription.time_limit:
        yield error(
            6,
            f"soft_time_limit ({subscription.soft_time_limit:g} s) must be above 0 and below "
            f"time_limit ({subscription.time_limit:g} s).",
        )
    if subscription.max_attempts < 1:
        yield error(7, f"max_attempts is {subscription.max_attempts}; it must be 1 or more.")
    if subscription.backoff.first < 0 or subscription.backoff.longest < subscription.backoff.first:
        yield error(8, "backoff must have 0 <= first <= longest.")
    for path, expected in subscription.where.items():
        if not path or not all(path.split(".")) or not _is_expected(expected):
            yield error(9, f"where[{path!r}] must map a dotted path to a value, a glob or a list of them.")
    if not _takes_an_event(subscription):
        yield error(10, "its function must take the event, and nothing else but an optional `run`.")
    for event in sorted(subscription.events - EVENT_NAMES - {EVERY_EVENT}):
        yield Warning(
            f"Subscription {subscription.name!r}: GitHub documents no event named {event!r}.",
            hint="Check the spelling against https://docs.github.com/en/webhooks/webhook-events-and-payloads.",
            id="webhooks.W001",
        )


def _is_expected(expected: Any) -> bool:
    if isinstance(expected, (list, tuple)):
        return bool(expected) and all(not isinstance(one, (list, tuple)) and _is_expected(one) for one in expected)
    return expected is None or isinstance(expected, (str, int, bool))


def _takes_an_event(subscription: Subscription) -> bool:
    if inspect.iscoroutinefunction(subscription.handler):
        return False
    parameters = list(inspect.signature(subscription.handler).parameters.values())
    names = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    return len(names) in (1, 2) and names[0] != "run" and (len(names) == 1 or names[1] == "run")
