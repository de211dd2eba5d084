"""The statements by which PostgreSQL records how runs ended and claims due jobs, both in one trip where both are asked
for. Each is put together of parts, so that a queue that needs neither shares nor limits pays for neither.
"""

from functools import cache

from webhooks.inbox import held_jobs, postgresql_fair

_CHANGED = """
changed AS MATERIALIZED (
    SELECT *, statement_timestamp() + delay * interval '1 second' AS next_at
    FROM json_to_recordset(%(changes)s::json) AS changed (
        job bigint, attempt integer, state text, is_final boolean, delay float8, forgives integer, loses integer,
        result text, error text, fingerprint text, outcome text, message text, traceback text,
        worker text, pid integer, began float8, ended float8
    )
), recorded AS (
    UPDATE webhooks_job AS job
    SET state = changed.state, lease_until = NULL,
        due_at = CASE WHEN is_final THEN due_at ELSE next_at END,
        publish_at = CASE WHEN is_final OR job.order_key IS NOT NULL THEN NULL ELSE next_at END,
        finished_at = CASE WHEN is_final THEN statement_timestamp() END,
        forgiven = forgiven + forgives, lost = lost + loses,
        result = changed.result, error = changed.error, fingerprint = changed.fingerprint
    FROM changed
    WHERE job.id = changed.job AND job.attempt = changed.attempt AND (job.state = 'running') IS TRUE
    RETURNING job.id, job.attempt, changed.worker, pid, began, ended, outcome, message, traceback
), attempt AS (
    INSERT INTO webhooks_attempt (
        job_id, number, worker, pid, started_at, finished_at, outcome, message, traceback
    )
    SELECT id, attempt, worker, pid, statement_timestamp() - began * interval '1 second',
           statement_timestamp() - ended * interval '1 second', outcome, message, traceback
    FROM recorded
    ON CONFLICT (job_id, number) DO UPDATE
    SET finished_at = excluded.finished_at, outcome = excluded.outcome, message = excluded.message,
        traceback = excluded.traceback
)"""
"""The state is compared in a way that the planner cannot use: it would read all running jobs by their index, for fewer
than that were running as it took its statistics. An attempt may be there: the release before wrote it at the claim."""
_KNOWN = """
known AS MATERIALIZED (
    SELECT * FROM unnest(%(handlers)s::text[], %(leases)s::float8[]) AS known (handler, lease)
), """
_DUE = """due AS MATERIALIZED (
    SELECT id, handler, publish_at FROM webhooks_job
    WHERE {condition} AND publish_at <= statement_timestamp() AND handler = ANY(ARRAY(SELECT handler FROM known)) AND (
        handler <> ALL(ARRAY(SELECT pause.handler FROM webhooks_pause AS pause WHERE resumed_at IS NULL))
        OR id = ANY(ARRAY(
            SELECT admitted_job FROM webhooks_pause WHERE resumed_at IS NULL AND admitted_job IS NOT NULL
        ))
    )
    ORDER BY publish_at, id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)"""
_OF_QUEUE = """queue = %(queue)s
          AND NOT EXISTS (SELECT FROM webhooks_pause WHERE queue = %(live_queue)s AND resumed_at IS NULL)"""
_OF_ID = """id = %(job)s
          AND replace(queue, '/replay', '') <> ALL(
              ARRAY(SELECT pause.queue FROM webhooks_pause AS pause WHERE resumed_at IS NULL))"""
"""What is paused is read once, before any job: of a paused queue, no job is read at all. A queue's
replay queue (webhooks/replay_queues.py) is paused with it."""
_CLAIMED = """{held}, claimed AS (
    UPDATE webhooks_job AS job
    SET state = 'running', attempt = job.attempt + 1, publish_at = NULL, worker = %(worker)s, started_at = NULL,
        claimed_at = statement_timestamp(), lease_until = statement_timestamp() + known.lease * interval '1 second',
        budget_from_at = CASE WHEN job.attempt = job.budget_from_attempt THEN statement_timestamp()
                              ELSE job.budget_from_at END
    FROM due JOIN known ON known.handler = due.handler
    WHERE job.id = due.id{is_free}
    RETURNING job.*, due.{place} AS place
)"""
_COLUMNS = """
       claimed.id, claimed.handler, claimed.queue, claimed.attempt, claimed.max_attempts, claimed.forgiven,
       claimed.lost, claimed.budget_from_attempt, claimed.budget_from_at, claimed.claimed_at, claimed.due_at,
       delivery.id, delivery.event, delivery.action, delivery.guid, delivery.hook_id, delivery.repository,
       delivery.installation_id, delivery.sender, delivery.received_at, source.name,
       delivery.headers ->> 'Content-Type', delivery.headers ->> 'traceparent', claimed.once_key, delivery.body_bytes,
       payload.body, claimed.order_key, claimed.latest_key, claimed.fair_key
"""
_WITH_DELIVERY = """claimed
JOIN webhooks_delivery AS delivery ON delivery.id = claimed.delivery_id
JOIN webhooks_source AS source ON source.id = delivery.source_id
LEFT JOIN webhooks_payload AS payload
    ON payload.delivery_id = delivery.id AND delivery.body_bytes <= %(small)s
"""
_IN_ORDER = "ORDER BY claimed.place, claimed.id"
_OLDEST_FIRST = _CLAIMED.format(held="", is_free="", place="publish_at")

RECORD = " ".join(("WITH", _CHANGED, "SELECT id, attempt FROM recorded"))
CLAIM_OF_ID = " ".join(
    ("WITH", _KNOWN, _DUE.format(condition=_OF_ID), _OLDEST_FIRST, "SELECT", _COLUMNS, "FROM", _WITH_DELIVERY)
)


@cache
def of_queue(*, is_shared: bool, uses_api: bool, records: bool) -> str:
    """Return the statement that claims due jobs of a queue, and before that records what has ended.

    Each of its rows has what was recorded, how many jobs were put off for GitHub's rate limit, and a claimed job. There
    is at least one row: the rest of it is empty if nothing is claimed.
    """
    due = postgresql_fair.DUE if is_shared else _DUE.format(condition=_OF_QUEUE)
    held, is_free = (held_jobs.HELD, held_jobs.IS_FREE) if uses_api else ("", "")
    return " ".join(
        (
            "WITH RECURSIVE" if is_shared else "WITH",
            f"{_CHANGED}," if records else "",
            *(_KNOWN, due, _CLAIMED.format(held=held, is_free=is_free, place="place" if is_shared else "publish_at")),
            *("SELECT", "(SELECT array_agg(ARRAY[id, attempt]) FROM recorded)," if records else "NULL,"),
            *("(SELECT count(*) FROM held)," if uses_api else "0,", _COLUMNS),
            *("FROM (VALUES (1)) AS one LEFT JOIN (", _WITH_DELIVERY, ") ON true", _IN_ORDER),
        )
    )
