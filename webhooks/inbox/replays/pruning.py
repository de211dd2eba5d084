"""Which replays retention removes: those that ended long ago, with all of their jobs."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db import transaction

from webhooks.models import Replay, ReplayItem


def ended_replays(before: datetime, *, batch: int) -> Iterator[tuple[list[int], datetime]]:
    """Yield the replays that ended before a moment, in batches, each with when its last one was asked for."""
    last = 0
    ended = Replay.objects.filter(finished_at__lt=before, is_active=False).order_by("pk")
    while rows := list(ended.filter(pk__gt=last).values_list("pk", "created_at")[:batch]):
        last, reached = rows[-1]
        yield [pk for pk, _ in rows], reached


@transaction.atomic
def remove(ids: Sequence[int]) -> int:
    """Remove replays with their items; return how many."""
    ReplayItem.objects.filter(replay_id__in=ids).delete()
    return Replay.objects.filter(pk__in=ids).delete()[1].get("webhooks.Replay", 0)
