"""System checks: each fault of a subscription is reported at start, in one sentence that names the subscription."""

import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Warning, register

from webhooks.destination_handlers import PREFIX
from webhooks.github.event_names import EVENT_NAMES
from webhooks.subscriptions.declared import Declared
from webhooks.subscriptions.installed import apps_without_handlers, installed_subscriptions, lost_declarations
from webhooks.subscriptions.keys import HANDLER, NAMES, is_key
from webhooks.subscriptions.matching import EVERY_EVENT, path_fault
from webhooks.subscriptions.subscription import Subscription, Subscriptions

LONGEST_SECONDS = 86_400
MOST_ATTEMPTS = 1_000

_WORD = re.compile(r"[A-Za-z0-9._-]{1,100}")
_QUEUE = re.compile(r"[A-Za-z0-9._-]{1,90}")
"""Shorter than its column, so that the name of its replay queue fits too, and without the slash that marks one."""


@register("webhooks")
def check_subscriptions(app_configs: Any = None, **_options: Any) -> list[CheckMessage]:
    declared = Subscriptions(installed_subscriptions().declared)
    return [*faults_of(declared), *map(_never_run, lost_declarations())]


@register("webhooks")
def check_apps(app_configs: Any = None, **_options: Any) -> list[CheckMessage]:
    """Report the team's apps that have no handlers. This is no error: an app may have another purpose."""
    return [
        Info(
            f"HOOKLINE_APPS names {name}, which has no handlers.py: it brings no handler.",
            hint="Put its handlers into a handlers.py of that package; if it has none, there is nothing to do.",
            id="webhooks.I001",
        )
        for name in apps_without_handlers()
    ]


def faults_of(subscriptions: Subscriptions) -> Iterator[CheckMessage]:
    """Yield an error or a warning for each fault of the subscriptions."""
    for name, count in Counter(subscription.name for subscription in subscriptions).items():
        if count > 1:
            yield Error(
                f"{count} subscriptions are named {name!r}.",
                hint="Rename a function, or give one a name of its own with @on(..., name=...).",
                id="webhooks.E001",
            )
    for subscription in subscriptions:
        yield from _faults(subscription)
    for queue in sorted(subscriptions.fair_queues):
        without = [one.name for one in subscriptions if one.queue == queue and not one.fair_by]
        if without:
            yield Warning(
                f"Queue {queue!r} is shared fairly, but these handlers have no fair_by: {', '.join(without)}.",
                hint="All their jobs together get one party's share. Give them fair_by too, or another queue.",
                id="webhooks.W002",
            )


def _never_run(lost: Declared) -> CheckMessage:
    """Return what is wrong with a declaration that is no subscription."""
    return Error(
        f"{lost.name} is declared a handler at {lost.file}:{lost.line}, and would never run.",
        hint=(
            "A handler is what a name at the top level of an installed app's handlers.py holds. Give it a name that"
            " nothing else takes there, or import it there by name; decorators above @on must use functools.wraps."
        ),
        id="webhooks.E100",
    )


def _faults(subscription: Subscription) -> Iterator[CheckMessage]:
    for number, rule in enumerate(_RULES, start=2):
        if sentence := rule(subscription):
            yield Error(f"Subscription {subscription.name!r}: {sentence}", id=f"webhooks.E{number:03}")
    for event in sorted(subscription.events - EVENT_NAMES - {EVERY_EVENT}):
        yield Warning(
            f"Subscription {subscription.name!r}: GitHub documents no event named {event!r}.",
            hint="Check the spelling against https://docs.github.com/en/webhooks/webhook-events-and-payloads.",
            id="webhooks.W001",
        )


def _name(subscription: Subscription) -> str | None:
    if subscription.name.startswith(PREFIX):
        return f"its name must not begin with {PREFIX!r}: so do the handlers of destinations."
    if _WORD.fullmatch(subscription.name):
        return None
    return "its name must be 1 to 100 letters, digits, dots, hyphens and underscores."


def _queue(subscription: Subscription) -> str | None:
    if _QUEUE.fullmatch(subscription.queue):
        return None
    return f"queue {subscription.queue!r} must be 1 to 90 letters, digits, dots, hyphens and underscores."


def _events(subscription: Subscription) -> str | None:
    return None if subscription.events else "it names no event."


def _time_limit(subscription: Subscription) -> str | None:
    limit = subscription.time_limit
    if _is_number(limit) and 1 <= limit <= LONGEST_SECONDS:
        return None
    return f"time_limit is {limit!r}; it must be between 1 and {LONGEST_SECONDS:,} seconds."


def _soft_time_limit(subscription: Subscription) -> str | None:
    soft, hard = subscription.soft_time_limit, subscription.time_limit
    if _time_limit(subscription) or (_is_number(soft) and 0 < soft < hard):
        return None
    return f"soft_time_limit ({soft!r}) must be above 0 and below time_limit ({hard!r}), in seconds."


def _max_attempts(subscription: Subscription) -> str | None:
    most = subscription.max_attempts
    if isinstance(most, int) and 1 <= most <= MOST_ATTEMPTS:
        return None
    return f"max_attempts is {most!r}; it must be between 1 and {MOST_ATTEMPTS:,}."


def _backoff(subscription: Subscription) -> str | None:
    backoff = subscription.backoff
    if _is_number(backoff.first) and _is_number(backoff.longest) and 0 <= backoff.first <= backoff.longest:
        return None
    return "backoff must have 0 <= first <= longest, in seconds."


def _where(subscription: Subscription) -> str | None:
    for path, expected in subscription.where.items():
        if fault := path_fault(path):
            return f"where[{path!r}]: the path {fault}"
        if not _is_expected(expected):
            return f"where[{path!r}] must be a value, a glob or a list of them."
    return None


def _handler(subscription: Subscription) -> str | None:
    if _takes_an_event(subscription):
        return None
    return "its function must be synchronous and take the event, and nothing else but an optional `run`."


def _once_per_event(subscription: Subscription) -> str | None:
    if isinstance(subscription.once_per_event, bool):
        return None
    return f"once_per_event is {subscription.once_per_event!r}; it must be True or False."


def _keys(subscription: Subscription) -> str | None:
    for name in ("fair_by", "one_at_a_time_by", "latest_only_by"):
        key = getattr(subscription, name)
        if key is not None and not is_key(key) and (name, key) != ("fair_by", HANDLER):
            known = ", ".join([*NAMES, *([HANDLER] if name == "fair_by" else [])])
            return (
                f"{name} is {key!r}; it must be one of {known}, or a path with a dot, such as 'deployment.environment'."
            )
    return None


def _one_key(subscription: Subscription) -> str | None:
    order, latest = subscription.one_at_a_time_by, subscription.latest_only_by
    if order is None or latest is None or order == latest:
        return None
    return f"one_at_a_time_by ({order!r}) and latest_only_by ({latest!r}) must be the same where both are given."


def _uses_api(subscription: Subscription) -> str | None:
    if not isinstance(subscription.uses_api, bool):
        return f"uses_api is {subscription.uses_api!r}; it must be True or False."
    if subscription.uses_api and not subscription.takes_run:
        return "it declares uses_api, and its function takes no `run`, by which handlers call GitHub's API."
    return None


_RULES: tuple[Callable[[Subscription], str | None], ...] = (
    _name,
    _queue,
    _events,
    _time_limit,
    _soft_time_limit,
    _max_attempts,
    _backoff,
    _where,
    _handler,
    _once_per_event,
    _keys,
    _one_key,
    _uses_api,
)
"""Each returns what is wrong, or None. A rule's number is its place here, so add a new rule at the end."""

_LAZY = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
"""A call of such a function runs none of its code: it only returns an object."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_expected(expected: Any) -> bool:
    if isinstance(expected, (list, tuple)):
        return bool(expected) and all(not isinstance(one, (list, tuple)) and _is_expected(one) for one in expected)
    return expected is None or isinstance(expected, (str, int, bool))


def _takes_an_event(subscription: Subscription) -> bool:
    function = subscription.handler
    if any(is_lazy(called) for is_lazy in _LAZY for called in (function, type(function).__call__)):
        return False
    given = ("event", "run") if subscription.takes_run else ("event",)
    try:
        taken = inspect.signature(function).bind(*given).arguments
    except TypeError:
        return False
    return not subscription.takes_run or taken.get("run") == "run"
