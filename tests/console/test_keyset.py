"""Pages by the last row seen: no row is lost or shown twice, whichever way, also where moments are equal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from tests.support.inbox_rows import make_delivery
from webhooks.console.keyset import Order, Page, page_of
from webhooks.models import Delivery

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

AT = datetime(2026, 5, 4, 14, 30, 7, tzinfo=UTC)


@pytest.fixture(params=["milliseconds", "microseconds"])
def rows(request: pytest.FixtureRequest) -> list[int]:
    """Deliveries of few moments, spelt as SQLite's own clock writes them or as Django does; their numbers in order."""
    moments = [AT + timedelta(milliseconds=each) for each in (0, 0, 120, 120, 121, 5000, 5000)]
    made = [make_delivery(received_at=at) for at in moments]
    if connection.vendor == "sqlite" and request.param == "milliseconds":
        with connection.cursor() as cursor:
            for each in made:
                text = each.received_at.replace(tzinfo=None).isoformat(" ", "milliseconds")
                cursor.execute("UPDATE webhooks_delivery SET received_at = %s WHERE id = %s", [text, each.pk])
    return [each.pk for each in made]


def pks(page: Page) -> list[int]:
    return [row.pk for row in page.rows]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("is_newest_first", [True, False])
def test_there_and_back_each_row_is_shown_once(rows: list[int], size: int, is_newest_first: bool) -> None:
    order = Order("received_at", is_newest_first)
    wanted = rows[::-1] if is_newest_first else rows
    page = page_of(Delivery.objects.all(), order, size=size)
    assert page.before == ""
    seen, pages = pks(page), [page]
    while page.after:
        page = page_of(Delivery.objects.all(), order, after=page.after, size=size)
        seen += pks(page)
        pages.append(page)
    assert seen == wanted
    for earlier in pages[-2::-1]:
        page = page_of(Delivery.objects.all(), order, before=page.before, size=size)
        assert pks(page) == pks(earlier)
    assert page.before == ""


@pytest.mark.parametrize("mark", ["x", "1", "1.", ".1", "-1.1", "1.9" * 9, "٣.٣"])
def test_a_mark_that_is_none_leads_to_the_first_page(rows: list[int], mark: str) -> None:
    order: Any = Order("received_at")
    assert pks(page_of(Delivery.objects.all(), order, after=mark, size=3)) == rows[:-4:-1]


@pytest.mark.parametrize("is_back", [True, False])
def test_a_page_is_read_from_the_index_in_its_order(rows: list[int], is_back: bool) -> None:
    from webhooks.console.keyset import _beyond, place_of

    mark = place_of(page_of(Delivery.objects.all(), Order("received_at"), size=2).after)
    assert mark is not None
    sign = "" if is_back else "-"
    page = Delivery.objects.filter(_beyond("received_at", mark, downwards=not is_back))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for way in ("seqscan", "bitmapscan", "sort"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
    plan = page.order_by(f"{sign}received_at", f"{sign}id")[:51].explain()
    assert "delivery_received" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan
