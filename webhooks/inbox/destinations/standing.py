"""Each destination as an operator looks at it: whether it takes deliveries, and what waits for it.

Every question reads a bounded number of rows, however large the inbox is.
"""

from dataclasses import dataclass

from django.db.models import Count
from django.utils import timezone

from webhooks.inbox import due, pauses
from webhooks.inbox.destinations.changing import origin_of
from webhooks.models import Destination, Job, Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStanding:
    """One destination."""

    row: Destination
    state: str
    """"off", "open" (its breaker is), "paused" (by a person, on the page Queues), "failing" or "on"."""
    pause: Pause | None
    waiting: int
    is_counted: bool
    """Whether all of its queue was counted; else more may wait."""

    @property
    def is_tried_now(self) -> bool:
        """Whether its breaker is open, and a job would be admitted by now to try it."""
        return self.row.opened_at is not None and (self.row.next_try_at or self.row.opened_at) <= timezone.now()

    @property
    def origin(self) -> str:
        return origin_of(self.row.url)


def standings() -> list[DestinationStanding]:
    """Return every destination, by name."""
    rows = list(Destination.objects.order_by("name"))
    paused = {pause.handler: pause for pause in pauses.current() if pause.handler} if rows else {}
    waiting = {queue: _waiting(queue) for queue in {row.queue for row in rows}}
    return [
        DestinationStanding(
            row=row,
            state=_state(row, paused.get(row.handler)),
            pause=paused.get(row.handler),
            waiting=waiting[row.queue].get(row.handler, 0),
            is_counted=sum(waiting[row.queue].values()) < due.SAMPLE,
        )
        for row in rows
    ]


def _state(row: Destination, pause: Pause | None) -> str:
    if not row.is_enabled:
        return "off"
    if row.opened_at is not None:
        return "open"
    if pause is not None:
        return "paused"
    return "failing" if row.failures else "on"


def _waiting(queue: str) -> dict[str, int]:
    """Return how many of the first jobs that wait in a queue are of each handler, due or not."""
    first = Job.objects.filter(queue=queue, publish_at__isnull=False).order_by("publish_at", "id")[: due.SAMPLE]
    counted = Job.objects.filter(pk__in=first.values("pk")).values_list("handler").annotate(count=Count("pk"))
    return dict(counted.order_by())
