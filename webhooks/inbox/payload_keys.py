"""Writes stored payloads again as the first key of HOOKLINE_PAYLOAD_KEYS encrypts them: clear ones, and other keys'.

In the order of their ids, in batches that are short transactions of their own. What is done shows in the row itself,
so a pass that was interrupted is simply begun again. A body is never changed but here, and the removal of a row
meanwhile leaves nothing to write to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from django.db import transaction
from django.db.models import BinaryField, F, Func, Max, Value
from django.db.models.functions import Length

from webhooks.inbox import database
from webhooks.inbox.kept_bodies import HEAD_BYTES, UnreadableBodyError, is_current, is_sealed, opened, sealed
from webhooks.models import Payload

ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 8 * 1024 * 1024
"""How much of bodies is read and written in one transaction; one alone may be larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How many payloads were seen of each kind. `rekeyed` had been encrypted with another of the keys."""

    reached: int = 0
    """Every payload up to this id was seen."""
    current: int = 0
    clear: int = 0
    rekeyed: int = 0
    unreadable: int = 0

    def __add__(self, later: "Seen") -> "Seen":
        return Seen(
            reached=max(self.reached, later.reached),
            current=self.current + later.current,
            clear=self.clear + later.clear,
            rekeyed=self.rekeyed + later.rekeyed,
            unreadable=self.unreadable + later.unreadable,
        )


def last_id() -> int:
    """Return the last payload's id; what comes later is encrypted as it comes."""
    return Payload.objects.aggregate(last=Max("pk"))["last"] or 0


def encrypt(*, is_dry_run: bool) -> Iterator[Seen]:
    """Encrypt what is not yet, batch after batch; yield what each batch has seen. A dry run reads, and writes nothing.

    Raises the database's errors.
    """
    last, reached = last_id(), 0
    while reached < last:
        heads = database.run(partial(_heads, reached, last))
        if not heads:
            return
        reached = heads[-1][0]
        wanted = [(pk, size) for pk, head, size in heads if not is_current(head)]
        yield Seen(current=len(heads) - len(wanted))
        for some in _parts(wanted):
            yield database.run(partial(_encrypt, some, is_dry_run=is_dry_run))
        yield Seen(reached=reached)


def _heads(after: int, last: int) -> list[tuple[int, bytes, int]]:
    head = Func(F("body"), Value(1), Value(HEAD_BYTES), function="SUBSTR", output_field=BinaryField())
    rows = Payload.objects.filter(pk__gt=after, pk__lte=last).order_by("pk").values_list("pk", head, Length("body"))
    return [(pk, bytes(start), size) for pk, start, size in rows[:ROWS_AT_ONCE]]


def _parts(wanted: list[tuple[int, int]]) -> Iterator[list[int]]:
    part: list[int] = []
    held = 0
    for pk, size in wanted:
        if part and held + size > BYTES_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(pk)
        held += size
    if part:
        yield part


def _encrypt(ids: list[int], *, is_dry_run: bool) -> Seen:
    changed: dict[int, bytes] = {}
    clear = unreadable = 0
    # Read and encrypted before the transaction, in which others may have to wait.
    for pk, body in Payload.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "body"):
        try:
            changed[pk] = sealed(opened(bytes(body)))
            clear += not is_sealed(bytes(body[:HEAD_BYTES]))
        except UnreadableBodyError:
            unreadable += 1
    if not is_dry_run:
        with transaction.atomic():
            for pk, body in changed.items():
                Payload.objects.filter(pk=pk).update(body=body)
    return Seen(reached=ids[-1], clear=clear, rekeyed=len(changed) - clear, unreadable=unreadable)
