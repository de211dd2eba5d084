"""What a run needs of its destination: read as the run begins, at most two seconds old.

The sending itself is `webhooks/forwarding/`'s. It is loaded by its name, in the child that runs the first such job: no
other process has a client of HTTP in memory.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

import orjson
from django.db import Error, connection

from webhooks.destination_handlers import RUN_SECONDS, NotForwardedError, destination_of
from webhooks.encryption import EncryptionError
from webhooks.inbox import database
from webhooks.inbox.claimed_event import body_of
from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.destinations.sealing import opened
from webhooks.models import Destination
from webhooks.subscriptions.event import RetryLater
from webhooks.subscriptions.subscription import SOFT_LIMIT_SHARE, Backoff, Subscription

SENDING = "webhooks.forwarding.handler"
KEPT_SECONDS = 2.0
AGAIN_SECONDS = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A destination, with its secrets in plain: of no use outside of a run."""

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    signing: str
    signing_secret: str = field(repr=False)
    time_limit: float
    allow_private: bool


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A claimed job of a destination, with the raw body that is sent."""

    target: Target
    job: ClaimedJob
    body: bytes = field(repr=False)


_kept: dict[str, tuple[float, Target]] = {}


def forwarded_of(job: ClaimedJob) -> Forwarded:
    """Return what is to be sent for a claimed job. If it cannot be read, raise what ends the run."""
    return Forwarded(target=_target(destination_of(job.handler)), job=job, body=body_of(job))


def forward(forwarded: Forwarded) -> str:
    """Send a delivery to its destination."""
    answer: str = import_module(SENDING).forward(forwarded)
    return answer


def subscription_of_run(handler: str) -> Subscription:
    """Return the subscription of a claimed job of a destination, which this process may not know of yet."""
    return Subscription(
        name=handler,
        handler=forward,
        events=frozenset(),
        actions=None,
        where={},
        queue="",
        time_limit=RUN_SECONDS,
        soft_time_limit=RUN_SECONDS * SOFT_LIMIT_SHARE,
        max_attempts=1,
        backoff=Backoff(),
        takes_run=False,
    )


def _target(name: str) -> Target:
    read_at, target = _kept.get(name, (0.0, None))
    if target is None or time.monotonic() - read_at >= KEPT_SECONDS:
        target = _read(name)
        for old in [each for each, (at, _) in _kept.items() if time.monotonic() - at >= KEPT_SECONDS]:
            del _kept[old]  # Its secrets are not to stay in memory.
        _kept[name] = (time.monotonic(), target)
    return target


def _read(name: str) -> Target:
    try:
        row = database.run(lambda: Destination.objects.filter(name=name).first())
    except Error as error:
        if not database.is_outage(error):
            raise
        connection.close()
        raise RetryLater("The database was away as the destination was read.", after=AGAIN_SECONDS) from None
    if row is None:
        raise NotForwardedError(f"The destination {name} was deleted.", kind="deleted", is_final=True)
    try:
        headers = orjson.loads(opened(row.headers)) if row.headers else {}
        secret = opened(row.signing_secret).decode() if row.signing_secret else ""
    except EncryptionError as error:
        # Not final: the key may be given again.
        raise NotForwardedError(f"What is stored of {name} cannot be read: {error}", kind="key") from None
    return Target(
        name=name,
        url=row.url,
        headers=headers,
        signing=row.signing,
        signing_secret=secret,
        time_limit=row.time_limit,
        allow_private=row.allow_private,
    )
