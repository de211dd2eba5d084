"""The engine for PostgreSQL. A claim and a record are one statement each: one round trip and one transaction.

They do not use the ORM: a child of a worker that runs less code needs less memory (decision 0008).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import connection

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


def _one_row(statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row
