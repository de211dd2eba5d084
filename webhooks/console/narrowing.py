"""Which rows of a list fit a search, in time that ten million rows do not change.

One filter is served by an index. The others read row after row, and so look only at the newest of what this index
finds; the page then says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from webhooks.console.keyset import Order, earliest, latest
from webhooks.console.search import Search
from webhooks.models import Delivery, Job

MOST_SEARCHED = 100_000
NEWEST_FIRST = Order("received_at")
_OF_DELIVERY = ("action", "sender")
_OF_JOBS = ("state", "handler", "queue", "fingerprint")


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The rows that fit, not read yet; and among how many only they were looked for, "" if among all."""

    rows: QuerySet[Any]
    most_searched: str = ""


def deliveries(wanted: Search) -> Narrowed:
    """Return the deliveries that a search finds. Those of a job's columns fit if one of their jobs fits them all."""
    rows, served = _by_index(wanted)
    if wanted.since:
        rows = rows.filter(received_at__gte=wanted.since)
    if wanted.until:
        rows = rows.filter(received_at__lt=wanted.until)
    rest = list(_without_index(wanted, served))
    return among_the_first(rows, NEWEST_FIRST, *rest) if rest else Narrowed(rows)


def among_the_first(rows: QuerySet[Any], order: Order, *conditions: Q | Exists) -> Narrowed:
    """Return the rows that meet conditions without an index, among the first MOST_SEARCHED in the list's order."""
    sign = "-" if order.is_newest_first else ""
    ordered = rows.order_by(f"{sign}{order.column}", f"{sign}id").values_list(order.column, flat=True)
    last = ordered[MOST_SEARCHED - 1 : MOST_SEARCHED].first()
    if last is None:
        return Narrowed(rows.filter(*conditions))
    is_first = Q((f"{order.column}__gte", earliest(last)) if sign else (f"{order.column}__lte", latest(last)))
    return Narrowed(rows.filter(is_first, *conditions), most_searched=f"{MOST_SEARCHED:,}")


def repository_fits(wanted: Search, column: str) -> Q:
    """Return the condition that a column with a repository's full name fits: all of it, or its start."""
    if (start := wanted.repository_start) is not None:
        return Q((f"{column}__startswith", start))
    return Q((column, wanted.repository))


def _by_index(wanted: Search) -> tuple[QuerySet[Delivery], str]:
    """Return the rows of one filter that an index serves in the list's order, or few rows; and the filter's name."""
    rows = Delivery.objects.all()
    if wanted.guid is not None:
        return rows.filter(guid=wanted.guid), "guid"
    if wanted.number is not None:
        return rows.filter(pk=wanted.number), "number"
    if wanted.repository and wanted.repository_start is None:
        return rows.filter(repository=wanted.repository), "repository"
    if wanted.event:
        return rows.filter(event=wanted.event), "event"
    return rows, ""


def _without_index(wanted: Search, served: str) -> Iterator[Q | Exists]:
    if wanted.number is not None and served != "number":
        yield Q(pk=wanted.number)
    if wanted.repository and served != "repository":
        yield repository_fits(wanted, "repository")
    if wanted.event and served != "event":
        yield Q(event=wanted.event)
    if of_delivery := {name: value for name in _OF_DELIVERY if (value := getattr(wanted, name))}:
        yield Q(**of_delivery)
    if wanted.installation is not None:
        yield Q(installation_id=wanted.installation)
    if wanted.mark:
        yield Q(recovery__isnull=False)
    if of_jobs := {name: value for name in _OF_JOBS if (value := getattr(wanted, name))} | (
        {"error__icontains": wanted.error} if wanted.error else {}
    ):
        yield Exists(Job.objects.filter(delivery=OuterRef("pk"), **of_jobs))
