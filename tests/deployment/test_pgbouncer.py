"""PostgreSQL directly and behind a real pgbouncer, which gives each transaction another session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.support.inbox_rows import make_job
from tests.support.pgbouncer import pgbouncer
from tests.support.processes import manage, wait_until
from tests.support.stack import Stack, fresh_postgres, running_stack
from webhooks.inbox import transitions
from webhooks.inbox.claimed_job import Wanted
from webhooks.states import JobState

SESSIONS = 2


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[Stack]:
    """An installation whose every process reaches PostgreSQL through pgbouncer."""
    with (
        running_stack(tmp_path, database="postgres", broker="rabbitmq", HOOKLINE_DATABASE_POOLED="true") as stack,
        pgbouncer(tmp_path, stack.database_url, sessions=SESSIONS) as url,
    ):
        stack.database_url = url
        yield stack
        stack.stop_all()


@pytest.mark.postgres
@pytest.mark.rabbitmq
@pytest.mark.pgbouncer
def test_deliveries_are_received_relayed_and_run_through_pgbouncer(pooled: Stack) -> None:
    pooled.start_all()
    # One after the other, so that outcomes are recorded by the same statement more often than psycopg waits for.
    for number in range(1, 9):
        assert pooled.send("work", orm=True)[0] == 202
        wait_until(lambda: pooled.states()["succeeded"] == number, what="the job to succeed")  # noqa: B023
    # Then more at once than PostgreSQL has sessions for them, and what only the relay brings back.
    for _ in range(20):
        assert pooled.send("work", orm=True, padding="x" * 100_000)[0] == 202
    assert pooled.send("fail-once")[0] == 202
    assert pooled.send("later")[0] == 202
    pooled.wait_until_drained()
    assert pooled.states() == {"succeeded": 30}
    assert pooled.rows("SELECT count(*) FROM webhooks_attempt WHERE outcome = 'succeeded'") == [(30,)]
    assert pooled.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")[0][0] <= SESSIONS
    assert not [line for line in pooled.logs().splitlines() if "prepared statement" in line or "the database" in line]


@pytest.mark.postgres
@pytest.mark.pgbouncer
def test_pgbouncer_refuses_who_has_not_been_told_of_it_and_the_reason_is_said(tmp_path: Path) -> None:
    with fresh_postgres() as direct, pgbouncer(tmp_path, direct, sessions=SESSIONS) as url:
        ended = manage("prune", "--dry-run", HOOKLINE_DATA_DIR=tmp_path / "data", DATABASE_URL=url)
    assert ended.returncode != 0
    assert "is behind a pooler; set HOOKLINE_DATABASE_POOLED to true" in ended.stderr


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_the_inboxs_statements_are_prepared_once_and_planned_for_their_values_each_time() -> None:
    """A plan for all values would last: what was planned for an empty inbox scans a full one."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's prepared statements")
    connection.close()
    wanted = Wanted(worker="w", leases={"shop.count": 60.0}, queue="default")
    for _ in range(20):
        make_job(JobState.QUEUED)
        assert len(transitions.exchange([], wanted)[1]) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT generic_plans, custom_plans > 10 FROM pg_prepared_statements")
        assert cursor.fetchall() == [(0, True)]
