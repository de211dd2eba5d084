"""Which due jobs are claimed of a queue that is shared fairly: one of each party in turn. Through the ORM, for SQLite;
`postgresql_fair.py` says the same in SQL."""

from collections.abc import Iterator
from itertools import chain, islice, zip_longest

from django.db.models import Q, QuerySet

from webhooks.inbox.database import skip_locked
from webhooks.models import Job


def of(waiting: QuerySet[Job], *, after: str, limit: int) -> list[tuple[int, str]]:
    """Return (id, handler) of due jobs in the order of a round that begins after a party."""
    parties: list[list[tuple[int, str]]] = []
    for party in _parties(waiting, after):
        if len(parties) == limit:
            break
        # One will do of each further party, once there are as many as jobs are wanted.
        found = list(skip_locked(waiting.filter(fair_key=party)).values_list("pk", "handler")[:limit])
        if found:
            parties.append(found)
    rounds = (job for each in zip_longest(*parties) for job in each if job is not None)
    due = list(islice(rounds, limit))
    of_nobody = skip_locked(waiting.filter(fair_key=None)).values_list("pk", "handler")
    return due + list(of_nobody[: limit - len(due)])


def _parties(waiting: QuerySet[Job], after: str) -> Iterator[str]:
    """Yield the parties with due jobs: those after this one, and then the others."""
    return chain(_between(waiting, Q(fair_key__gt=after), Q()), _between(waiting, Q(), Q(fair_key__lte=after)))


def _between(waiting: QuerySet[Job], first: Q, until: Q) -> Iterator[str]:
    following = first
    while True:
        ahead = waiting.filter(following, until, fair_key__isnull=False).order_by("fair_key")
        party = ahead.values_list("fair_key", flat=True).first()
        if party is None:
            return
        yield party
        following = Q(fair_key__gt=party)
