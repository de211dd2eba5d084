"""The engine for PostgreSQL. Each change is one statement: one round trip and one transaction.

They do not use the ORM: a child of a worker that runs less code needs less memory (decision 0008).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from django.db import connection

from webhooks.inbox.due import PUBLISH_GRACE
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored

_INSERT = """
WITH given AS MATERIALIZED (
    SELECT source.id AS source_id, given.*
    FROM ROWS FROM (
        json_to_recordset(%(deliveries)s::json) AS (
            source text, hook_id bigint, guid uuid, event text, action text, repository text, installation_id bigint,
            sender text, secret_fingerprint text, headers jsonb
        ),
        unnest(%(bodies)b::bytea[])
    ) WITH ORDINALITY AS given (
        source, hook_id, guid, event, action, repository, installation_id, sender, secret_fingerprint, headers, body,
        place
    )
    JOIN webhooks_source AS source ON source.name = given.source
), delivery AS (
    INSERT INTO webhooks_delivery (
        source_id, hook_id, guid, event, action, repository, installation_id, sender, secret_fingerprint, headers,
        body_bytes, repeats
    )
    SELECT source_id, hook_id, guid, event, action, repository, installation_id, sender, secret_fingerprint, headers,
           octet_length(body), 0
    FROM given
    ORDER BY guid, hook_id, source_id
    ON CONFLICT (source_id, hook_id, guid) DO NOTHING
    RETURNING id, source_id, hook_id, guid
), new AS MATERIALIZED (
    SELECT delivery.id, place, body FROM delivery JOIN given USING (source_id, hook_id, guid)
), payload AS (
    INSERT INTO webhooks_payload (delivery_id, body) SELECT id, body FROM new
), job AS (
    INSERT INTO webhooks_job (
        delivery_id, handler, queue, max_attempts, once_key, state, publish_at, publications, attempt, forgiven, lost,
        budget_from_attempt, result, error, fingerprint
    )
    SELECT new.id, handler, queue, max_attempts, once_key, 'queued', statement_timestamp() + %(grace)s, 0, 0, 0, 0,
           0, '', '', ''
    FROM json_to_recordset(%(jobs)s::json)
        AS wanted (place bigint, handler text, queue text, max_attempts integer, once_key text)
    JOIN new USING (place)
    ORDER BY once_key, new.id
    ON CONFLICT (once_key) WHERE once_key IS NOT NULL DO NOTHING
    RETURNING id, delivery_id, handler, queue
)
SELECT place, new.id, job.id, job.handler, job.queue FROM new LEFT JOIN job ON job.delivery_id = new.id ORDER BY job.id
"""
"""Two such statements may hold the same keys, and one then waits for the other. Both insert their deliveries in one
order and after them, since a sort takes all of them first, their jobs in one order: so neither waits for the other."""
_CLAIM = """
WITH job AS (
    UPDATE webhooks_job
    SET state = 'running', attempt = attempt + 1, lease_until = statement_timestamp() + %(lease)s,
        publish_at = NULL, publications = 0,
        budget_from_at = CASE WHEN attempt = budget_from_attempt THEN statement_timestamp() ELSE budget_from_at END
    WHERE id = %(job)s AND (state = 'queued' OR state = 'retrying' AND due_at <= statement_timestamp())
    RETURNING *
), attempt AS (
    INSERT INTO webhooks_attempt (job_id, number, worker, pid, started_at, outcome, message, traceback)
    SELECT id, attempt, %(worker)s, %(pid)s, statement_timestamp(), '', '', '' FROM job
)
SELECT job.id, job.handler, job.attempt, job.max_attempts, job.forgiven, job.lost, job.budget_from_attempt,
       job.budget_from_at, statement_timestamp(), delivery.id, delivery.event, delivery.action, delivery.guid,
       delivery.hook_id, delivery.repository, delivery.installation_id, delivery.sender, delivery.received_at,
       source.name, delivery.headers ->> 'Content-Type', job.once_key
FROM job
JOIN webhooks_delivery AS delivery ON delivery.id = job.delivery_id
JOIN webhooks_source AS source ON source.id = delivery.source_id
"""
_RECORD = """
WITH job AS (
    UPDATE webhooks_job
    SET state = %(state)s, lease_until = NULL,
        due_at = CASE WHEN %(is_final)s THEN due_at ELSE statement_timestamp() + %(delay)s END,
        publish_at = CASE WHEN %(is_final)s THEN NULL ELSE statement_timestamp() + %(delay)s END,
        finished_at = CASE WHEN %(is_final)s THEN statement_timestamp() END,
        forgiven = forgiven + %(forgives)s, lost = lost + %(loses)s,
        result = %(result)s, error = %(error)s, fingerprint = %(fingerprint)s
    WHERE id = %(job)s AND state = 'running' AND attempt = %(attempt)s
    RETURNING id, attempt
), attempt AS (
    UPDATE webhooks_attempt
    SET finished_at = statement_timestamp(), outcome = %(outcome)s, message = %(message)s, traceback = %(traceback)s
    FROM job
    WHERE job_id = job.id AND number = job.attempt
)
SELECT 1 FROM job
"""


def insert(deliveries: Sequence[NewDelivery]) -> list[Stored | None]:
    values = {
        "deliveries": orjson.dumps([_columns(new) for new in deliveries]).decode(),
        "bodies": [new.body for new in deliveries],
        "jobs": orjson.dumps(
            [
                {
                    "place": place,
                    "handler": subscription.name,
                    "queue": subscription.queue,
                    "max_attempts": subscription.max_attempts,
                    "once_key": new.once_key(subscription),
                }
                for place, new in enumerate(deliveries, start=1)
                for subscription in new.subscriptions
            ]
        ).decode(),
        "grace": PUBLISH_GRACE,
    }
    delivery_ids: dict[int, int] = {}
    jobs: dict[int, list[JobToPublish]] = {}
    for place, delivery_id, job_id, handler, queue in _all_rows(_INSERT, values):
        delivery_ids[place] = delivery_id
        if job_id is not None:
            jobs.setdefault(place, []).append(JobToPublish(job_id, handler, queue))
    return [_stored(delivery_ids.get(place), jobs.get(place, ())) for place in range(1, len(deliveries) + 1)]


def _columns(new: NewDelivery) -> dict[str, Any]:
    names = ("source", "hook_id", "guid", "event", "action", "repository", "installation_id", "sender")
    return {name: getattr(new, name) for name in (*names, "secret_fingerprint")} | {"headers": dict(new.headers)}


def _stored(delivery_id: int | None, jobs: Sequence[JobToPublish]) -> Stored | None:
    if delivery_id is None:
        return None
    return Stored(delivery_id, is_duplicate=False, job_count=len(jobs), to_publish=tuple(jobs))


def claim(job_id: int, *, worker: str, pid: int, lease_seconds: float) -> tuple[Any, ...] | None:
    lease = timedelta(seconds=lease_seconds)
    return _one_row(_CLAIM, {"job": job_id, "worker": worker, "pid": pid, "lease": lease})


def record(change: Mapping[str, Any]) -> bool:
    return _one_row(_RECORD, change) is not None


def prepare_connection(*, wait_seconds: float) -> None:
    """Nothing to prepare: a transaction waits only for the server, and the committer limits that wait."""


def limit_lock_wait(*, milliseconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{milliseconds}ms'")


def commit_without_waiting() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit TO OFF")


def _all_rows(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement with its values apart from it, as Django's own cursor would not: it writes them into the text."""
    import psycopg  # Not where the database is SQLite.

    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(statement, values).fetchall()


def _one_row(statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row
