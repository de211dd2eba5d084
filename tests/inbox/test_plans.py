"""How PostgreSQL carries out what workers ask all the time: by an index to each row, whatever its statistics say.

The statements are those that the engine runs, on a connection as the committer prepares it, planned for their values
and for any.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from psycopg import sql

from tests.support.inbox_rows import make_delivery
from tests.support.plans import forget_rows
from webhooks.inbox import postgresql, turns
from webhooks.inbox.claimed_job import Wanted
from webhooks.inbox.late_turns import LateTurns
from webhooks.inbox.turns import Keys

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

ROWS = 20_000
MANY = f"""
WITH delivery AS (
    INSERT INTO webhooks_delivery (source_id, hook_id, guid, event, action, repository, sender, secret_fingerprint,
                                   headers, body_bytes, repeats)
    SELECT source_id, n, gen_random_uuid(), event, '', repository, '', '', headers, body_bytes, 0
    FROM webhooks_delivery, generate_series(2, {ROWS}) AS n WHERE id = %s
    RETURNING id
), payload AS (
    INSERT INTO webhooks_payload (delivery_id, body) SELECT id, '' FROM delivery
)
INSERT INTO webhooks_job (delivery_id, handler, queue, state, publish_at, finished_at, attempt, max_attempts, forgiven,
                          lost, budget_from_attempt, result, error, fingerprint)
SELECT id, 'shop.count', 'default', %s, CASE WHEN %s = 'queued' THEN now() END, now(), 0, 3, 0, 0, 0, '', '', ''
FROM delivery
"""
ENDED_PAUSES = """
INSERT INTO webhooks_pause (queue, handler, reason, paused_by, paused_at, resumed_by, resumed_at)
SELECT 'default', '', 'outage', 'ana', now(), 'ana', now() FROM generate_series(1, 2000)
"""
TABLES = "webhooks_source, webhooks_delivery, webhooks_payload, webhooks_job, webhooks_attempt, webhooks_pause"
RUNNING = 70
WANTED = Wanted(worker="w", leases={"shop.count": 30.0, "shop.bill": 60.0}, limit=RUNNING, queue="default")
CHANGE = {
    "state": "succeeded", "is_final": True, "delay": 0.0, "forgives": 0, "loses": 0, "result": "", "error": "",
    "fingerprint": "", "outcome": "succeeded", "message": "", "traceback": "", "worker": "w", "pid": 7, "began": 1.0,
    "ended": 0.0,
}  # fmt: skip

Plan = Mapping[str, Any]


@pytest.fixture
def emptied() -> None:
    """An inbox in which nothing has ever been, as the first worker of an installation finds it."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's planner")
    forget_rows(TABLES)


@pytest.fixture(params=["succeeded", "queued"], ids=["statistics while nothing ran", "statistics while many waited"])
def statistics(request: pytest.FixtureRequest, emptied: None) -> None:
    """Fill the tables, and let the server look at them; afterwards many jobs wait, and some run."""
    first = make_delivery()
    with connection.cursor() as cursor:
        cursor.execute(MANY, [first.pk, request.param, request.param])
        cursor.execute(ENDED_PAUSES)
        cursor.execute(f"ANALYZE {TABLES}")
        cursor.execute("UPDATE webhooks_job SET state = 'queued', publish_at = now()")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, Any]]]:
    return noted_statements(monkeypatch)


def noted_statements(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the statements that the engine runs from now on, with their values."""
    seen: list[tuple[str, Mapping[str, Any]]] = []
    rows_of = postgresql._all_rows

    def noted(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        seen.append((statement, values))
        return rows_of(statement, values)

    monkeypatch.setattr(postgresql, "_all_rows", noted)
    return seen


@pytest.mark.usefixtures("statistics")
def test_every_statement_of_a_worker_finds_its_rows_by_an_index(run: list[tuple[str, Mapping[str, Any]]]) -> None:
    postgresql.prepare_connection(wait_seconds=1.0)
    _, claimed = postgresql.exchange([], WANTED)
    changes: list[dict[str, Any]] = [{**CHANGE, "job": row[0], "attempt": row[3]} for row in claimed]
    assert len(changes) == RUNNING
    postgresql.exchange(changes[:20], None)
    postgresql.exchange(changes[20:50], WANTED)
    postgresql.release([(change["job"], change["attempt"]) for change in changes[50:]])
    postgresql.exchange([], Wanted(worker="w", leases=WANTED.leases, job_id=changes[0]["job"]))
    assert_by_index(*(list(plans(*each)) for each in run))


@pytest.mark.usefixtures("emptied")
def test_and_so_does_a_plan_that_was_made_once_while_the_inbox_was_empty(
    run: list[tuple[str, Mapping[str, Any]]],
) -> None:
    postgresql.prepare_connection(wait_seconds=1.0)
    with connection.cursor() as cursor:
        cursor.execute("SHOW plan_cache_mode")
        assert cursor.fetchone() == ("force_generic_plan",)
    change = {**CHANGE, "job": 1, "attempt": 1}
    postgresql.exchange([], WANTED)
    postgresql.exchange([change], None)
    postgresql.exchange([change], WANTED)
    postgresql.release([(1, 1)])
    postgresql.exchange([], Wanted(worker="w", leases=WANTED.leases, job_id=1))
    assert_by_index(*([for_any] for _, for_any in (plans(*each) for each in run)))


FAIRLY = replace(WANTED, after="m")
PARTIES = """
UPDATE webhooks_job SET fair_key = CASE WHEN id % 100 = 0 THEN 'quiet ' || id % 5000 ELSE 'noisy' END,
                        order_key = 'key ' || id, latest_key = 'key ' || id
"""


@pytest.mark.usefixtures("statistics")
def test_the_claim_of_a_shared_queue_reads_no_more_rows_than_it_brings_jobs(
    run: list[tuple[str, Mapping[str, Any]]],
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(PARTIES)
    postgresql.prepare_connection(wait_seconds=1.0)
    _, claimed = postgresql.exchange([], FAIRLY)
    assert len({row[-1] for row in claimed}) > RUNNING // 2
    postgresql.exchange([{**CHANGE, "job": claimed[0][0], "attempt": claimed[0][3]}], FAIRLY)
    for plan in chain(*(plans(*each) for each in run)):
        assert_fair(plan)
    assert rows_read(*run[0]) <= 8 * RUNNING
    with connection.cursor() as cursor:  # One party, with all of them.
        cursor.execute("UPDATE webhooks_job SET fair_key = 'noisy'")
    assert rows_read(*run[0]) <= 8 * RUNNING


@pytest.mark.usefixtures("emptied")
def test_and_so_does_a_plan_of_it_that_was_made_while_the_inbox_was_empty(
    run: list[tuple[str, Mapping[str, Any]]],
) -> None:
    postgresql.prepare_connection(wait_seconds=1.0)
    postgresql.exchange([], FAIRLY)
    postgresql.exchange([{**CHANGE, "job": 1, "attempt": 1}], FAIRLY)
    for _, for_any in (plans(*each) for each in run):
        assert_fair(for_any)


def assert_fair(plan: Plan) -> None:
    reads = [node for node in nodes(plan) if node.get("Relation Name") == "webhooks_job"]
    assert {node["Node Type"] for node in reads} <= {"Index Scan", "Index Only Scan", "ModifyTable"}
    by_party = [node for node in reads if node.get("Index Name") == "job_fair"]
    assert len(by_party) == 6  # The next party, before and after the wrap, and the next job of one.
    assert not [node for node in nodes(plan) if node["Node Type"] in ("Hash", "Materialize")]


def rows_read(statement: str, values: Mapping[str, Any]) -> int:
    """Return how many rows of jobs a statement reads for what it claims, those that it leaves out among them."""
    with transaction.atomic(), psycopg.Cursor(connection.connection) as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, values)
        plan = cursor.fetchall()[0][0][0]["Plan"]
        transaction.set_rollback(True)
    reads = [node for node in nodes(plan) if node.get("Relation Name") == "webhooks_job" and "Index Name" in node]
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return int(sum(n["Actual Loops"] * (n["Actual Rows"] + sum(n.get(r, 0) for r in removed)) for n in reads))


@pytest.mark.usefixtures("statistics")
def test_turns_are_passed_on_by_an_index_however_many_jobs_have_a_key() -> None:
    with connection.cursor() as cursor:
        cursor.execute(PARTIES)
        cursor.execute("UPDATE webhooks_job SET order_key = 'k', publish_at = NULL WHERE id % 2 = 0")
        cursor.execute("ANALYZE webhooks_job")
    with CaptureQueriesContext(connection) as seen:
        turns.settle(Keys(order=frozenset({"k", "other"}), latest=frozenset({"k", "key 7"})))
        LateTurns().step()
    statements = [one["sql"] for one in seen if "order_key" in one["sql"] or "latest_key" in one["sql"]]
    assert len(statements) == 5
    for statement in statements:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (FORMAT JSON) " + statement.replace("%", "%%"), [])
            plan = cursor.fetchone()[0][0]["Plan"]
        scans = {node["Node Type"] for node in nodes(plan) if node.get("Relation Name") == "webhooks_job"}
        assert not scans & {"Seq Scan"}, statement


def assert_by_index(*found: Sequence[Plan]) -> None:
    claim, record, both, release, claim_one = found
    for plan in (*claim, *record, *both, *release, *claim_one):
        reads = [node for node in nodes(plan) if str(node.get("Relation Name", "")).startswith("webhooks_")]
        scans = {(node["Relation Name"], node["Node Type"]) for node in reads if node["Node Type"].endswith("Scan")}
        small = ("webhooks_source", "webhooks_pause")
        assert {kind for name, kind in scans if name not in small} == {"Index Scan"}, scans
        # What is paused: one lookup in the index that holds open pauses only, however many have ended.
        paused = {node.get("Index Name") for node in reads if node["Relation Name"] == "webhooks_pause"}
        assert paused <= {"pause_once"}
        assert "job_running" not in {node.get("Index Name") for node in nodes(plan)}
    for plan in (*claim, *both):
        [due] = [node for node in nodes(plan) if node.get("Subplan Name") == "CTE due"]
        main = list(nodes(due, besides="InitPlan"))
        # Already in order: it ends at its limit, however many wait. Of a paused queue, it reads none.
        assert [node["Node Type"] for node in main] == ["Limit", "LockRows", "Result", "Index Scan"]
        assert "One-Time Filter" in main[2]
        assert main[3]["Index Name"] == "job_publish"


def plans(statement: str, values: Mapping[str, Any]) -> Iterator[Plan]:
    """Yield how the server would carry out a statement with its values, and with any."""
    raw = connection.connection
    with psycopg.Cursor(raw) as cursor:
        cursor.execute("EXPLAIN (FORMAT JSON) " + statement, values)
        yield cursor.fetchall()[0][0][0]["Plan"]
        cursor.execute("SELECT name FROM pg_prepared_statements")
        before = set(cursor.fetchall())
        before_it, raw.prepare_threshold = raw.prepare_threshold, ROWS  # None would leave it unprepared.
        cursor.execute(statement, values, prepare=True)
        raw.prepare_threshold = before_it
        cursor.execute("SELECT name, parameter_types FROM pg_prepared_statements")
        [(name, types)] = [row for row in cursor.fetchall() if row[:1] not in before]
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        nothing = sql.SQL(", ").join([sql.NULL] * len(types))
        cursor.execute(sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE {} ({})").format(sql.Identifier(name), nothing))
        yield cursor.fetchall()[0][0][0]["Plan"]


def nodes(plan: Plan, *, besides: str = "") -> Iterator[Plan]:
    """Yield a plan's nodes, without the parts that stand in this relation to their node, such as what is read once."""
    yield plan
    for part in plan.get("Plans", ()):
        if part["Parent Relationship"] != besides:
            yield from nodes(part, besides=besides)
