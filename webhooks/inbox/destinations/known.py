"""The subscriptions of destinations, as every process has them: read when they have changed, never on a request."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from django.db import connection

from webhooks.destination_handlers import RUN_SECONDS, destination_of, handler_of
from webhooks.inbox.committer import InboxUnavailableError
from webhooks.inbox.destinations.running import forward
from webhooks.models import Destination
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.matching import Expected
from webhooks.subscriptions.subscription import SOFT_LIMIT_SHARE, Backoff, Subscription
from webhooks.threads import start_thread

LOOK_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 3_600.0
REPOSITORY = "repository.full_name"

_seen: list[tuple[int, int]] = []
"""Each destination's id and version, as they were last read."""


def refresh() -> bool:
    """Read the destinations if they have changed since the last look; return whether. Raises database errors."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, version FROM webhooks_destination ORDER BY id")
        versions = [(pk, version) for pk, version in cursor.fetchall()]
    if versions == _seen:
        return False
    # One that changes in between is read now, and again at the next look.
    installed_subscriptions().replace_destinations(map(subscription_of, Destination.objects.order_by("name")))
    _seen[:] = versions
    return True


def is_any() -> bool:
    """Tell whether this process knows of any destination."""
    return bool(_seen)


def is_deleted(handler: str) -> bool:
    """Tell whether this is the handler of a destination that is gone. The database is asked: it may be a new one."""
    name = destination_of(handler)
    return bool(name) and not Destination.objects.filter(name=name).exists()


def start_watching(run: Callable[[Callable[[], bool]], bool]) -> None:
    """Look for changes on a thread of its own, as long as the process lives, by a connection that `run` lends.

    Nobody waits for it: while the database is down or silent, the last known destinations count.
    """
    start_thread("destinations", partial(_watch, run))


def _watch(run: Callable[[Callable[[], bool]], bool]) -> None:
    while True:
        with suppress(InboxUnavailableError):  # Who lends the connection has logged why.
            run(refresh)
        time.sleep(LOOK_SECONDS)


def subscription_of(destination: Destination) -> Subscription:
    return Subscription(
        name=handler_of(destination.name),
        handler=forward,
        events=frozenset(destination.events),
        actions=frozenset(destination.actions) or None,
        where=conditions_of(destination),
        queue=destination.queue,
        time_limit=RUN_SECONDS,
        soft_time_limit=RUN_SECONDS * SOFT_LIMIT_SHARE,
        max_attempts=destination.max_attempts,
        backoff=Backoff(destination.backoff_seconds, max(destination.backoff_seconds, LONGEST_BACKOFF_SECONDS)),
        takes_run=False,
        fair_by=destination.fair_by,
        one_at_a_time_by=destination.one_at_a_time_by or None,
        latest_only_by=destination.latest_only_by or None,
        takes_events=destination.is_enabled,
    )


def conditions_of(destination: Destination) -> dict[str, Expected]:
    """Return what the payload must hold, as `@on` takes it."""
    of_repository: dict[str, Expected] = {REPOSITORY: destination.repository} if destination.repository else {}
    return {**destination.where, **of_repository}
