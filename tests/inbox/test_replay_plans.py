"""How both databases carry out what replays ask: by an index to each row, however many rows do not match."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.inbox.test_plans import nodes
from tests.inbox.test_replays import COUNT, MAIN, ONCE
from tests.support.inbox_rows import make_delivery
from webhooks.inbox import missing
from webhooks.inbox.replays import counting, life, running
from webhooks.inbox.replays import scope as scopes
from webhooks.inbox.replays.scope import Scope
from webhooks.models import Delivery, Job, Payload
from webhooks.states import JobState
from webhooks.subscriptions import installed
from webhooks.subscriptions.subscription import Subscriptions

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

ROWS = 4_000
LARGE = ("webhooks_job", "webhooks_delivery", "webhooks_payload", "webhooks_attempt")


@pytest.fixture(autouse=True)
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries of which most have succeeded; one job in forty is dead, and one delivery in forty lacks its job."""
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([COUNT, ONCE, MAIN]))
    monkeypatch.setattr(scopes, "SLICE", 20)  # As small a part of these rows as a slice is of a large inbox.
    first = make_delivery()
    copies = [Delivery(source_id=first.source_id, hook_id=n, guid=uuid.uuid4(), event="push", headers={}, body_bytes=2)
              for n in range(2, ROWS)]  # fmt: skip
    rows = Delivery.objects.bulk_create(copies, batch_size=500)
    Payload.objects.bulk_create((Payload(delivery=row, body=b"{}") for row in rows), batch_size=500)
    Job.objects.bulk_create(
        (
            Job(
                delivery=row,
                handler="shop.count",
                queue="default",
                max_attempts=3,
                state=JobState.DEAD if place % 40 == 0 else JobState.SUCCEEDED,
                finished_at=first.received_at,
            )
            for place, row in enumerate(rows)
            if place % 40 != 1
        ),
        batch_size=500,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "postgresql":  # As for a database that fits into memory: these few rows always do.
            cursor.execute("SET LOCAL random_page_cost = 1.1")


SCOPES = {
    "dead": Scope(),
    "of a repository": Scope(repository="acme/widgets"),
    "skipped": Scope(state=JobState.SKIPPED),
    "missing": Scope(is_missing=True, handler="shop.count"),
    "missing once": Scope(is_missing=True, handler="shop.once"),
    "missing by payload": Scope(is_missing=True, handler="shop.main"),
}


@pytest.mark.parametrize("name", SCOPES)
def test_counting_and_running_read_no_large_table_as_a_whole(name: str) -> None:
    scope = SCOPES[name]
    frozen = counting.freeze(scope)

    def count_and_run() -> None:
        counted = counting.count(scope, frozen, seconds=0)
        replay = life.begin(scope, frozen, counted, who="ana", reason="r", rate=5)
        replay.total = counted.total
        replay.save()
        running.step()

    seen = statements(count_and_run)
    assert len(seen) > 5
    for statement in seen:
        assert not list(whole_reads(statement)), statement[:400]


def test_making_jobs_reads_none_as_a_whole() -> None:
    delivery = Delivery.objects.latest("pk")
    wanted = missing.MissingJob(delivery_id=delivery.pk, subscription=ONCE, once_key="k", is_replay=True)
    for statement in statements(lambda: missing.make([wanted])):
        assert not list(whole_reads(statement)), statement[:400]


def statements(work: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as asked:
        work()
    texts = [query["sql"] for query in asked.captured_queries]
    return [text for text in texts if text.startswith(("SELECT", "UPDATE", "DELETE")) and "webhooks_" in text]


def whole_reads(statement: str, *, large: Sequence[str] = LARGE) -> Iterator[str]:
    """Yield the large tables that the database would read as a whole."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("EXPLAIN (FORMAT JSON) " + statement.replace("%", "%%"), ())
            for node in nodes(cursor.fetchone()[0][0]["Plan"]):
                if node["Node Type"] == "Seq Scan" and node["Relation Name"] in large:
                    yield node["Relation Name"]
            return
        cursor.execute("EXPLAIN QUERY PLAN " + statement.replace("%", "%%"), ())
        for *_, detail in cursor.fetchall():
            if detail.startswith("SCAN") and "INDEX" not in detail and any(name in detail for name in large):
                yield detail


def check(work: Callable[[], Any], *, large: Sequence[str], least: int) -> None:
    """Let something ask the database at least so often, and never so that a large table is read as a whole."""
    seen = statements(work)
    assert len(seen) >= least, seen
    for statement in seen:
        assert not list(whole_reads(statement, large=large)), statement[:600]


def look_at_rows() -> None:
    """Let the planner know how many rows there are, and plan as for a database that fits into memory."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "postgresql":  # These few rows always do.
            cursor.execute("SET random_page_cost = 1.1")
