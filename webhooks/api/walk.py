"""Finds a pull request's deliveries among those of its repository, a bounded part at a time.

No index has the number of a pull request, which stands in the payload. So the index `delivery_repository` gives the
repository's deliveries in order of arrival, and of those events that name pull requests each payload is read.
"""

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db.models import Q, QuerySet

from webhooks.api.handed_out import Room
from webhooks.github.payload import PayloadError, parse
from webhooks.github.pull_requests import EVENTS, numbers_of
from webhooks.inbox.engine import payload_of
from webhooks.models import Delivery

MOST_ROWS = 1_000
"""How many deliveries of the repository a part looks at, of any event."""
MOST_READ = 200
"""How many payloads it reads."""
MOST_FOUND = 50
MOST_SECONDS = 5.0
LARGEST_READ = 5 * 1024 * 1024
"""A payload that is larger is not read, since parsed it takes ten times its size. GitHub's of these events are smaller."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = re.compile(r"([0-9]{1,17})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Place:
    """A delivery behind which a walk goes on."""

    received_at: datetime
    id: int

    def __str__(self) -> str:
        return f"{(self.received_at - _EPOCH) // timedelta(microseconds=1)}-{self.id}"

    @classmethod
    def of(cls, text: str) -> "Place | None":
        """Return the place that a text names, or None if it names none."""
        found = _PLACE.fullmatch(text)
        try:
            return cls(_EPOCH + timedelta(microseconds=int(found[1])), int(found[2])) if found else None
        except OverflowError:
            return None


@dataclass(slots=True)
class Step:
    """A part of a walk: what it found, what it could not read, and where the next part begins, if there is one."""

    found: list[Delivery] = field(default_factory=list)
    pruned: int = 0
    """Deliveries without a payload: they may be the pull request's."""
    too_large: int = 0
    following: Place | None = None
    read: int = 0


def walk(repository: str, number: int, place: Place) -> Step:
    """Look at the deliveries behind a place, until a bound of this part is reached."""
    rows = list(_behind(repository, place)[:MOST_ROWS])
    step, room, until = Step(), Room(), time.monotonic() + MOST_SECONDS
    for row in rows:
        if step.read >= MOST_READ or len(step.found) >= MOST_FOUND or time.monotonic() > until:
            step.following = place
            return step
        if row.event in EVENTS and _is_wanted(row, number, step):
            if not room.takes(row.body_bytes):
                step.following = place
                return step
            step.found.append(row)
        place = Place(row.received_at, row.pk)
    step.following = place if len(rows) == MOST_ROWS else None
    return step


def _behind(repository: str, place: Place) -> QuerySet[Delivery]:
    # In this form both databases walk the index from the place on: as a row value only PostgreSQL would.
    behind = Q(received_at__gt=place.received_at) | Q(pk__gt=place.id)
    of_repository = Delivery.objects.filter(behind, repository=repository, received_at__gte=place.received_at)
    return of_repository.select_related("source").order_by("received_at", "pk")


def _is_wanted(row: Delivery, number: int, step: Step) -> bool:
    if row.body_bytes > LARGEST_READ:
        step.too_large += 1
        return False
    step.read += 1
    body = payload_of(row.pk)
    if body is None:
        step.pruned += 1
        return False
    try:
        payload = parse(body, content_type=str(row.headers.get("Content-Type", "")))
    except PayloadError:
        return False
    return number in numbers_of(row.event, payload)
