"""Subscriptions: handlers with their events, queue, limits and retries; how they are declared and found.

`@on` only attaches its arguments to the function. `discover` collects the functions of every installed app's
`handlers.py` into a `Subscriptions`. The system checks in `checks.py` report their faults, and declarations that were
not collected.
"""

import contextlib
import inspect
import logging
import random
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from webhooks.subscriptions.declared import remember
from webhooks.subscriptions.keys import JobKeys, fair_key, handler_key
from webhooks.subscriptions.matching import Expected, event_matches, payload_matches

HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., str | None])

logger = logging.getLogger(__name__)

_DECLARATIONS = "_hookline_declarations"
SOFT_LIMIT_SHARE = 0.9
"""If no soft limit is given, the handler has the last tenth of its time limit to clean up."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: before retry n, wait between 0 and min(longest, first · 2ⁿ⁻¹) seconds.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    first: float = 10.0
    longest: float = 3600.0

    def seconds(self, retry: int, *, share: float | None = None) -> float:
        """Return the wait before the given retry (1 is the first); `share` replaces the random draw in [0, 1)."""
        drawn = random.random() if share is None else share  # noqa: S311  Nobody gains by guessing it.
        return float(min(self.longest, self.first * 2 ** min(retry - 1, 60)) * drawn)


@dataclass(frozen=True, slots=True)
class Declaration:
    """The arguments of `@on`. None means the default from the settings."""

    events: frozenset[str]
    actions: frozenset[str] | None
    where: Mapping[str, Expected]
    queue: str | None
    time_limit: float | None
    soft_time_limit: float | None
    max_attempts: int | None
    backoff: Backoff
    name: str | None
    once_per_event: bool
    fair_by: str | None
    one_at_a_time_by: str | None
    latest_only_by: str | None
    uses_api: bool = False


@dataclass(frozen=True, slots=True)
class Defaults:
    """The values for arguments that a declaration leaves out."""

    queue: str
    time_limit: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A handler with its events, queue, limits and retries. Limits are in seconds."""

    name: str
    handler: Callable[..., str | None] = field(repr=False)
    events: frozenset[str]
    actions: frozenset[str] | None
    where: Mapping[str, Expected]
    queue: str
    time_limit: float
    soft_time_limit: float
    max_attempts: int
    backoff: Backoff
    takes_run: bool
    once_per_event: bool = False
    fair_by: str | None = None
    one_at_a_time_by: str | None = None
    latest_only_by: str | None = None
    uses_api: bool = False
    takes_events: bool = True
    """Whether what arrives makes jobs of it: not while a destination is switched off."""

    def matches(self, name: str, action: str, payload: Mapping[str, Any]) -> bool:
        return event_matches(name, action, events=self.events, actions=self.actions) and payload_matches(
            payload, self.where
        )

    def once_key(self, *, source: str, guid: uuid.UUID) -> str | None:
        """Return what names its one job for an event; None where each hook's delivery has its own."""
        return f"{source}:{guid}:{self.name}" if self.once_per_event else None

    @property
    def has_keys(self) -> bool:
        """Whether values of the payload decide when its jobs run."""
        return bool(self.fair_by or self.one_at_a_time_by or self.latest_only_by)

    def keys(self, *, source: str, payload: Mapping[str, Any]) -> JobKeys:
        """Return the keys of its job for an event."""
        of: dict[str, Any] = {"handler": self.name, "source": source, "payload": payload}
        order, latest = (
            handler_key(key, **of) if key else None for key in (self.one_at_a_time_by, self.latest_only_by)
        )
        return JobKeys(fair_key(self.fair_by, **of) if self.fair_by else None, order, latest)


def on(
    event: str | Sequence[str],
    *,
    actions: Sequence[str] | None = None,
    where: Mapping[str, Expected] | None = None,
    queue: str | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    max_attempts: int | None = None,
    backoff: Backoff | float | None = None,
    name: str | None = None,
    once_per_event: bool = False,
    fair_by: str | None = None,
    one_at_a_time_by: str | None = None,
    latest_only_by: str | None = None,
    uses_api: bool = False,
) -> Callable[[HandlerFunction], HandlerFunction]:
    """Subscribe a function to GitHub events; `"*"` is every event. The function itself is not changed.

    `where` maps paths of the payload, dotted or by RFC 9535, to a value, a glob or a list of them. All must match.
    `time_limit` and `soft_time_limit` are seconds; `backoff` is a Backoff, or its first wait in seconds.
    `once_per_event` makes one job for an event that several hooks send; it belongs to the first delivery.
    Each `…_by` is a key (`keys.py`): `fair_by` shares the queue among its values (or among the handlers, by "handler"),
    `one_at_a_time_by` runs one job of a value at a time, and by `latest_only_by` only the newest job of a value waits.
    `uses_api` lets the jobs of an installation wait while GitHub's rate limit leaves it no call.
    """

    def declare(function: HandlerFunction) -> HandlerFunction:
        declaration = Declaration(
            events=frozenset([event] if isinstance(event, str) else event),
            actions=None if actions is None else frozenset([actions] if isinstance(actions, str) else actions),
            where=dict(where or {}),
            queue=queue,
            time_limit=time_limit,
            soft_time_limit=soft_time_limit,
            max_attempts=max_attempts,
            backoff=backoff if isinstance(backoff, Backoff) else Backoff() if backoff is None else Backoff(backoff),
            name=name,
            once_per_event=once_per_event,
            fair_by=fair_by,
            one_at_a_time_by=one_at_a_time_by,
            latest_only_by=latest_only_by,
            uses_api=uses_api,
        )
        remember(declaration, function, declared_in=sys._getframe(1))
        # Each of several `@on` on one function is a subscription. The checks report those that need their own `name`.
        with contextlib.suppress(AttributeError):  # A bound method takes no attribute; the checks report it.
            setattr(function, _DECLARATIONS, (declaration, *getattr(function, _DECLARATIONS, ())))
        return function

    return declare


class Subscriptions:
    """All subscriptions of this installation: those of apps, and those of destinations, which may change.

    If two of apps have the same name, a system check reports it.
    """

    def __init__(self, subscriptions: Iterable[Subscription] = ()) -> None:
        self.declared: tuple[Subscription, ...] = tuple(subscriptions)
        self._hold(self.declared)

    def _hold(self, subscriptions: tuple[Subscription, ...]) -> None:
        self.all = subscriptions
        self._by_name = {subscription.name: subscription for subscription in subscriptions}
        self.fair_queues = frozenset(subscription.queue for subscription in subscriptions if subscription.fair_by)
        """The queues that are shared fairly."""

    def replace_destinations(self, subscriptions: Iterable[Subscription]) -> None:
        """Let these be those of the destinations, beside what apps declare. Other threads may read meanwhile."""
        self._hold((*self.declared, *subscriptions))

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self.all)

    def get(self, name: str) -> Subscription | None:
        return self._by_name.get(name)

    def matching(self, name: str, action: str, payload: Mapping[str, Any]) -> list[Subscription]:
        return [one for one in self.all if one.takes_events and _matches(one, name, action, payload)]

    def may_match(self, name: str, action: str) -> bool:
        """Tell whether an event may have a handler, as long as its payload is not known."""
        return any(
            one.takes_events and event_matches(name, action, events=one.events, actions=one.actions) for one in self.all
        )

    def keys_of(self, subscription: Subscription, *, source: str, payload: Mapping[str, Any]) -> JobKeys:
        """Return the keys of a subscription's job for an event.

        In a queue that is shared fairly, the jobs of handlers without `fair_by` count as one party.
        """
        keys = subscription.keys(source=source, payload=payload) if subscription.has_keys else JobKeys()
        return keys._replace(fair="") if keys.fair is None and subscription.queue in self.fair_queues else keys

    def that_use_the_api(self, queue: str) -> frozenset[str]:
        """Return the handlers that call GitHub's API; none if no handler of this queue does."""
        using = [one for one in self.all if one.uses_api]
        return frozenset(one.name for one in using) if any(one.queue == queue for one in using) else frozenset()

    @property
    def queues(self) -> list[str]:
        return sorted({subscription.queue for subscription in self.all})


def _matches(subscription: Subscription, name: str, action: str, payload: Mapping[str, Any]) -> bool:
    """Tell whether a subscription matches. If that raises, it gets no job; the delivery and other jobs are stored."""
    try:
        return subscription.matches(name, action, payload)
    except Exception:
        logger.exception("matching failed: no job for this handler", extra={"handler": subscription.name})
        return False


Modules = Iterable[tuple[str, ModuleType]]
"""Pairs of an app's label and its handlers module."""


def discover(modules: Modules, *, defaults: Defaults) -> Subscriptions:
    """Collect the declared handlers of the apps' modules, in the order they are written."""
    found = list(_held(modules))
    # A decorator above `@on` copies its declarations with functools.wraps. The outer function runs, not the inner one.
    wrapped = {id(inner) for one in found for inner in _wrapped_by(one.function)}
    met: set[int] = set()
    subscriptions: list[Subscription] = []
    for one in found:
        # A handler imported into another handlers.py is still one handler.
        if id(one.function) not in wrapped | met:
            met.add(id(one.function))
            subscriptions += (_subscription(one, declaration, defaults) for declaration in one.declarations)
    return Subscriptions(subscriptions)


def held_declarations(modules: Modules) -> list[Declaration]:
    """Return the declarations of all functions that these modules have under a name."""
    return [declaration for one in _held(modules) for declaration in one.declarations]


@dataclass(frozen=True, slots=True)
class _Held:
    """A declared function, and its name in an app's handlers module."""

    label: str
    name: str
    function: Callable[..., str | None]
    declarations: tuple[Declaration, ...]


def _held(modules: Modules) -> Iterator[_Held]:
    for label, module in modules:
        for name, function in vars(module).items():
            # Not getattr: among the module's names may be a lazy object, which getattr would evaluate.
            declarations = inspect.getattr_static(function, _DECLARATIONS, None)
            if isinstance(declarations, tuple):
                yield _Held(label, name, function, declarations)


def _wrapped_by(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        yield inner
        function = inner


def _subscription(held: _Held, declaration: Declaration, defaults: Defaults) -> Subscription:
    function = held.function
    time_limit = defaults.time_limit if declaration.time_limit is None else declaration.time_limit
    own_name = str(getattr(function, "__name__", ""))
    return Subscription(
        # A lambda or a partial has no name of its own, and gets the name of the module's variable.
        name=declaration.name or f"{held.label}.{own_name if own_name.isidentifier() else held.name}",
        handler=function,
        events=declaration.events,
        actions=declaration.actions,
        where=declaration.where,
        queue=declaration.queue or defaults.queue,
        time_limit=time_limit,
        soft_time_limit=_soft_time_limit(declaration, time_limit),
        max_attempts=defaults.max_attempts if declaration.max_attempts is None else declaration.max_attempts,
        backoff=declaration.backoff,
        takes_run="run" in inspect.signature(function).parameters,
        once_per_event=declaration.once_per_event,
        fair_by=declaration.fair_by,
        one_at_a_time_by=declaration.one_at_a_time_by,
        latest_only_by=declaration.latest_only_by,
        uses_api=declaration.uses_api,
    )


def _soft_time_limit(declaration: Declaration, time_limit: float) -> float:
    if declaration.soft_time_limit is not None:
        return declaration.soft_time_limit
    # A time limit that is not a number is reported by the checks.
    return time_limit * SOFT_LIMIT_SHARE if isinstance(time_limit, (int, float)) else time_limit
