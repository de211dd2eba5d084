"""Finds a pull request's deliveries among those of its repository, a bounded part at a time.

No index has the number of a pull request, which stands in the payload. So the index `delivery_repository` gives the
repository's deliveries in order of arrival, and of those events that name pull requests each payload is read.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import QuerySet

from webhooks.api.handed_out import Room
from webhooks.console.keyset import Order, earliest, mark_of, page_of
from webhooks.github.payload import PayloadError, parse
from webhooks.github.pull_requests import EVENTS, numbers_of
from webhooks.inbox.engine import payload_of
from webhooks.inbox.kept_bodies import UnreadableBodyError
from webhooks.models import Delivery

ORDER = Order("received_at", is_newest_first=False)
MOST_ROWS = 1_000
"""How many deliveries of the repository a part looks at, of any event."""
MOST_READ = 200
"""How many payloads it reads."""
MOST_FOUND = 50
MOST_SECONDS = 5.0
LARGEST_READ = 5 * 1024 * 1024
"""A larger payload is not read: parsed it takes ten times its size. GitHub's payloads of these events are smaller."""


@dataclass(slots=True)
class Step:
    """A part of a walk: what it found, what it could not read, and the mark of the next part, if there is one."""

    found: list[Delivery] = field(default_factory=list)
    pruned: int = 0
    """Deliveries without a payload: they may be the pull request's."""
    unreadable: int = 0
    """Deliveries whose payload is encrypted with a key that is not here: the same."""
    too_large: int = 0
    following: str = ""
    read: int = 0


def walk(repository: str, number: int, *, since: datetime, after: str) -> Step:
    """Look at the repository's deliveries behind a mark, until a bound of this part is reached."""
    page = page_of(_of(repository, since), ORDER, after=after, size=MOST_ROWS)
    step, room, until = Step(), Room(), time.monotonic() + MOST_SECONDS
    reached = ""
    for row in page.rows:
        is_full = step.read >= MOST_READ or len(step.found) >= MOST_FOUND or time.monotonic() > until
        if reached and is_full:
            step.following = reached
            return step
        if row.event in EVENTS and _is_wanted(row, number, step):
            if not room.takes(row.body_bytes):
                step.following = reached
                return step
            step.found.append(row)
        reached = mark_of(row, ORDER.column)
    step.following = page.after
    return step


def _of(repository: str, since: datetime) -> QuerySet[Delivery]:
    own = Delivery.objects.filter(repository=repository, received_at__gte=earliest(since))
    return own.select_related("source")


def _is_wanted(row: Delivery, number: int, step: Step) -> bool:
    if row.body_bytes > LARGEST_READ:
        step.too_large += 1
        return False
    step.read += 1
    try:
        body = payload_of(row.pk)
    except UnreadableBodyError:
        step.unreadable += 1
        return False
    if body is None:
        step.pruned += 1
        return False
    try:
        payload = parse(body, content_type=str(row.headers.get("Content-Type", "")))
    except PayloadError:
        return False
    return number in numbers_of(row.event, payload)
