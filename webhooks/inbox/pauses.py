"""Pauses: an operator lets the jobs of a queue or of a handler wait in the inbox.

A pause changes no job. Claims leave paused jobs out, in the claim's own statement (`postgresql.py`, `sqlite.py`): no
claim that begins after a pause is committed takes one. Runs that have begun go on to their end. What a worker had
claimed before may still run too: it begins or is given back within `desk.LATE_SECONDS`, a second (a large body: ten).

A destination that is switched off, or whose breaker is open, is paused in the same way, by a row of its own kind. A
person may pause it besides. Such a row may admit one job all the same (`webhooks/inbox/destinations/`).
"""

from dataclasses import dataclass

from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from webhooks.inbox import audit
from webhooks.models import Pause
from webhooks.replay_queues import live_queue


@dataclass(frozen=True, slots=True)
class Paused:
    """The names of what is paused now."""

    queues: frozenset[str] = frozenset()
    handlers: frozenset[str] = frozenset()
    admitted: frozenset[int] = frozenset()
    """Jobs of paused handlers that may be claimed all the same."""

    def __bool__(self) -> bool:
        return bool(self.queues or self.handlers)

    def has_queue(self, queue: str) -> bool:
        """Tell whether a queue is paused. Its replay queue is paused with it."""
        return live_queue(queue) in self.queues


def paused() -> Paused:
    """Read what is paused, by an index that holds open pauses only. Without the ORM: claims on SQLite need it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT queue, handler, admitted_job FROM webhooks_pause WHERE resumed_at IS NULL")
        rows = cursor.fetchall()
    return Paused(
        queues=frozenset(queue for queue, *_ in rows if queue),
        handlers=frozenset(handler for _, handler, _ in rows if handler),
        admitted=frozenset(job for *_, job in rows if job is not None),
    )


def current() -> list[Pause]:
    """Return the pauses by people that hold now, the oldest first."""
    return list(Pause.objects.filter(resumed_at=None, kind=Pause.Kind.PERSON).order_by("paused_at", "id"))


def pause(*, queue: str = "", handler: str = "", reason: str, who: str) -> Pause | None:
    """Pause a queue or a handler, and record who did it and why; None if it is paused already.

    Exactly one of the two is named. What has no jobs and is not installed can be paused too: it may come.
    """
    try:
        with transaction.atomic():
            made = Pause.objects.create(queue=queue, handler=handler, reason=reason[:500], paused_by=who[:150])
            audit.record("pause", who=who, scope=scope_of(queue=queue, handler=handler), reason=reason)
    except IntegrityError:
        if not _held(queue, handler).exists():
            raise
        return None
    return made


def resume(*, queue: str = "", handler: str = "", who: str, reason: str = "") -> bool:
    """End the pause of a queue or a handler, and record who did it; tell whether there was one."""
    with transaction.atomic():
        if not _held(queue, handler).update(resumed_at=Now(), resumed_by=who[:150]):
            return False
        audit.record("resume", who=who, scope=scope_of(queue=queue, handler=handler), reason=reason)
    return True


def _held(queue: str, handler: str) -> QuerySet[Pause]:
    return Pause.objects.filter(queue=queue, handler=handler, resumed_at=None, kind=Pause.Kind.PERSON)


def scope_of(*, queue: str = "", handler: str = "") -> str:
    """Return "queue default" or "handler acme.greet"."""
    return f"queue {queue}" if queue else f"handler {handler}"
