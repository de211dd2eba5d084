"""Fills an inbox with deliveries that were worked off long ago, one job and one attempt each, ten million in minutes.

Tables are filled in the database, by one statement for many rows, and indexed at the end.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from typing import Any

from django.db import connection
from tqdm import tqdm

CHUNK = 500_000
IN_SQL = {
    "postgresql": {
        "guid": "gen_random_uuid()",
        "body": "convert_to(repeat('x', {body_bytes}), 'UTF8')",
        "at": "now() - interval '1 second' * ({span} * 86400.0 * ({rows} - n) / {rows})",
        "numbers": "generate_series({first}, {last}) AS numbers(n)",
    },
    "sqlite": {
        "guid": "lower(hex(randomblob(16)))",
        "body": "zeroblob({body_bytes})",
        "at": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ({span} * 86400.0 * ({rows} - n) / {rows}) || ' seconds')",
        "numbers": (
            "(WITH RECURSIVE s(n) AS (VALUES ({first}) UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s)"
        ),
    },
}
FILL = (
    """INSERT INTO webhooks_delivery (id, source_id, hook_id, guid, event, action, repository, sender,
           secret_fingerprint, headers, body_bytes, received_at, repeats)
       SELECT n, 1, 1, {guid}, 'push', '', 'acme/widgets', 'octo', '0123456789ab',
           '{{"Content-Type": "application/json"}}', {body_bytes}, {at}, 0 FROM {numbers}""",
    "INSERT INTO webhooks_payload (delivery_id, body) SELECT n, {body} FROM {numbers}",
    """INSERT INTO webhooks_job (id, delivery_id, handler, queue, state, created_at, due_at, attempt,
           max_attempts, forgiven, lost, budget_from_attempt, budget_from_at, finished_at, result, error, fingerprint)
       SELECT n, n, 'trial.work', 'trial',
           CASE WHEN n % {every_dead} = 0 THEN 'dead' WHEN (n + 1) % {every_queued} = 0 THEN 'queued'
                ELSE 'succeeded' END, {at}, {at}, 1, 5, 0, 0, 0, {at}, {at}, '', '', '' FROM {numbers}""",
    """INSERT INTO webhooks_attempt (id, job_id, number, worker, pid, started_at, finished_at, outcome, message,
           traceback) SELECT n, n, 1, 'worker@node', 1, {at}, {at}, 'succeeded', '', '' FROM {numbers}""",
)
TABLES = "webhooks_delivery, webhooks_payload, webhooks_job, webhooks_attempt"
INDEXES = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE contype = 'u' AND conrelid::regclass::text LIKE 'webhooks%'
UNION ALL
SELECT format('DROP INDEX %I', indexname), indexdef FROM pg_indexes
WHERE tablename LIKE 'webhooks%' AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


def store(deliveries: int, *, days: float, body_bytes: int, every_dead: int, every_queued: int | None = None) -> None:
    """Store so many in an empty inbox, received evenly over so many days. One job in so many is dead, or queued."""
    words: dict[str, Any] = {
        "rows": deliveries,
        "span": days,
        "body_bytes": body_bytes,
        "every_dead": every_dead,
        "every_queued": every_queued or deliveries + 2,  # None of them.
    }
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO webhooks_source (id, name, url) VALUES (1, 'github', 'https://github.com')")
        firsts = range(1, deliveries + 1, CHUNK)
        with in_bulk() if connection.vendor == "postgresql" else contextlib.nullcontext():
            for first, statement in tqdm([*itertools.product(firsts, FILL)], desc="filling", disable=is_redirected()):
                told = words | {"first": first, "last": min(first + CHUNK - 1, deliveries)}
                told |= {name: template.format(**told) for name, template in IN_SQL[connection.vendor].items()}
                cursor.execute(statement.format(**told))
        if connection.vendor == "postgresql":
            for table in ("source", "delivery", "job", "attempt"):
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('webhooks_{table}', 'id'), {deliveries})")
            cursor.execute(f"VACUUM {TABLES}")
        cursor.execute("ANALYZE")


@contextlib.contextmanager
def in_bulk() -> Iterator[None]:
    """Fill without indexes, which are made at the end, and without checks: what refers to what is right by itself."""
    indexes = rows(INDEXES)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET maintenance_work_mem = '512MB'")
        for drop, _create in indexes:
            cursor.execute(drop)
        yield
        for _drop, create in tqdm(indexes, desc="indexing", disable=is_redirected()):
            cursor.execute(create)
        cursor.execute("SET session_replication_role = DEFAULT")


def rows(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def is_redirected() -> bool:
    return not sys.stderr.isatty()
