"""What the page of destinations asks of a large inbox: by an index, and of a bounded number of rows."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox.destinations import changing, standing
from webhooks.inbox.destinations.changing import Secrets
from webhooks.inbox.destinations.preview import preview
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def plans(of_table: str, statements: CaptureQueriesContext) -> list[str]:
    """Return the plan of each captured statement that reads this table, as text."""
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    found = []
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # The tables are small here.
        for statement in statements.captured_queries:
            if f'FROM "{of_table}"' in statement["sql"]:
                cursor.execute(f"{explain} {statement['sql']}")
                found.append("\n".join(str(row) for row in cursor.fetchall()))
    return found


def test_jobs_that_wait_are_counted_by_the_index_of_waiting_jobs() -> None:
    row = changing.create("chat", {"events": ["*"], "url": "https://chat.example.com"}, Secrets(), who="ana")
    for handler in (row.handler, row.handler, "shop.count"):
        make_job(JobState.QUEUED, handler=handler, queue=row.queue)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        [found] = standing.standings()
    assert (found.waiting, found.is_counted) == (2, True)
    [plan] = plans("webhooks_job", asked)
    assert "job_publish" in plan
    assert "SCAN webhooks_job" not in plan


def test_more_than_the_first_that_wait_are_said_not_to_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    row = changing.create("chat", {"events": ["*"], "url": "https://chat.example.com"}, Secrets(), who="ana")
    for _ in range(3):
        make_job(JobState.QUEUED, handler=row.handler, queue=row.queue)
    monkeypatch.setattr("webhooks.inbox.due.SAMPLE", 2)
    [found] = standing.standings()
    assert (found.waiting, found.is_counted) == (2, False)


def test_a_preview_reads_the_newest_deliveries_by_their_index() -> None:
    row = changing.create("chat", {"events": ["push"], "url": "https://chat.example.com"}, Secrets(), who="ana")
    make_delivery()
    with CaptureQueriesContext(connection) as asked:
        assert len(preview(row).matching) == 1
    plan, *_ = plans("webhooks_delivery", asked)
    assert "delivery_received" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan
