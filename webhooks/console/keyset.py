"""Pages of a long list by the last row seen. OFFSET would read every row before the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet, Value

PAGE = 50


@dataclass(frozen=True, slots=True)
class Order:
    """A list's order: a column of moments and the id, both one way, as an index has them."""

    column: str
    is_newest_first: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list in its order, and the marks in the URL of the pages beside it; empty if there is none."""

    rows: Sequence[Any]
    after: str
    before: str


def page_of(rows: QuerySet[Any], order: Order, *, after: str = "", before: str = "", size: int = PAGE) -> Page:
    """Return the page after a mark, or before one; the first page without a mark, or with one that is none."""
    mark = place_of(before or after)
    is_back = bool(before) and mark is not None
    downwards = order.is_newest_first != is_back
    if mark is not None:
        rows = rows.filter(_beyond(order.column, mark, downwards=downwards))
    sign = "-" if downwards else ""
    found = list(rows.order_by(f"{sign}{order.column}", f"{sign}id")[: size + 1])
    has_more = len(found) > size
    found = found[:size]
    if is_back:
        found.reverse()
    has_next, has_previous = (True, has_more) if is_back else (has_more, mark is not None)
    return Page(
        rows=found,
        after=mark_of(found[-1], order.column) if found and has_next else "",
        before=mark_of(found[0], order.column) if found and has_previous else "",
    )


def earliest(at: datetime) -> Any:
    """Return a moment to compare a column with, such that every spelling of the same moment is at or after it.

    SQLite keeps moments as text: its own clock writes milliseconds, Django microseconds, and of the same moment the
    shorter text comes first. PostgreSQL keeps the moment.
    """
    return Value(_spellings(at)[0]) if connection.vendor == "sqlite" else at


def latest(at: datetime) -> Any:
    """Return a moment to compare a column with, such that every spelling of the same moment is at or before it."""
    return Value(_spellings(at)[1]) if connection.vendor == "sqlite" else at


def _spellings(at: datetime) -> tuple[str, str]:
    plain = at.astimezone(UTC).replace(tzinfo=None)
    short = "microseconds" if plain.microsecond % 1000 else "milliseconds" if plain.microsecond else "seconds"
    return plain.isoformat(" ", short), plain.isoformat(" ", "microseconds")


def _beyond(column: str, mark: tuple[datetime, int], *, downwards: bool) -> Q:
    """Return `at <= x AND (at < x OR id < y)`: both databases read it from the index on (at, id)."""
    at, row = mark
    first, last = earliest(at), latest(at)
    if downwards:
        return Q((f"{column}__lte", last)) & (Q((f"{column}__lt", first)) | Q(id__lt=row))
    return Q((f"{column}__gte", first)) & (Q((f"{column}__gt", last)) | Q(id__gt=row))


def mark_of(row: Any, column: str) -> str:
    """Return the mark of the page that begins after this row."""
    moment: datetime = getattr(row, column)
    return f"{int(moment.timestamp()) * 1_000_000 + moment.microsecond}.{row.pk}"


def place_of(mark: str) -> tuple[datetime, int] | None:
    """Return the moment and the id that a mark names, or None if it is none."""
    at, _, row = mark.partition(".")
    if not (at.isascii() and at.isdecimal() and len(at) <= 17 and row.isascii() and row.isdecimal() and len(row) <= 18):
        return None
    seconds, microseconds = divmod(int(at), 1_000_000)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=microseconds), int(row)
