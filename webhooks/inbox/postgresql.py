"""The engine for PostgreSQL. Each change is one statement: one round trip and one transaction.

They do not use the ORM: a child of a worker that runs less code needs less memory (decision 0008).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.db import connection

from webhooks.inbox import postgresql_fair
from webhooks.inbox.claimed_job import SMALL_BODY_BYTES, Wanted
from webhooks.inbox.kept_bodies import kept
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored
from webhooks.replay_queues import live_queue
from webhooks.subscriptions.subscription import Subscription

_INSERT = """
WITH given AS MATERIALIZED (
    SELECT source.id AS source_id, given.*
    FROM ROWS FROM (
        json_to_recordset(%(deliveries)s::json) AS (
            source text, hook_id bigint, guid uuid, event text, action text, repository text, installation_id bigint,
            sender text, secret_fingerprint text, headers jsonb, body_bytes integer, redacted jsonb
        ),
        unnest(%(bodies)b::bytea[])
    ) WITH ORDINALITY AS given (
        source, hook_id, guid, event, action, repository, installation_id, sender, secret_fingerprint, headers,
        body_bytes, redacted, body, place
    )
    JOIN webhooks_source AS source ON source.name = given.source
), delivery AS (
    INSERT INTO webhooks_delivery (
        source_id, hook_id, guid, event, action, repository, installation_id, sender, secret_fingerprint, headers,
        body_bytes, redacted, repeats
    )
    SELECT source_id, hook_id, guid, event, action, repository, installation_id, sender, secret_fingerprint, headers,
           body_bytes, redacted, 0
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
        delivery_id, handler, queue, max_attempts, once_key, fair_key, order_key, latest_key, state, publish_at,
        attempt, forgiven, lost, budget_from_attempt, result, error, fingerprint
    )
    SELECT new.id, handler, queue, max_attempts, once_key, fair_key, order_key, latest_key, 'queued',
           CASE WHEN order_key IS NULL THEN statement_timestamp() END, 0, 0, 0, 0, '', '', ''
    FROM json_to_recordset(%(jobs)s::json) AS wanted (
        place bigint, handler text, queue text, max_attempts integer, once_key text, fair_key text, order_key text,
        latest_key text
    )
    JOIN new USING (place)
    ORDER BY CASE WHEN order_key IS NULL AND latest_key IS NULL THEN once_key END, place
    ON CONFLICT (once_key) WHERE once_key IS NOT NULL DO NOTHING
    RETURNING id, delivery_id, handler, queue
)
SELECT place, new.id, job.id, job.handler, job.queue FROM new LEFT JOIN job ON job.delivery_id = new.id ORDER BY job.id
"""
"""Two such statements may hold the same keys, and one then waits for the other. Both insert their deliveries in one
order and after them, since a sort takes all of them first, their jobs in one order: so neither waits for the other.
Jobs with an order key or a latest key are in the order in which they came; their once keys are locked (`store.py`)."""
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
    WHERE {condition} AND publish_at <= statement_timestamp() AND handler = ANY(ARRAY(
        SELECT handler FROM known
        WHERE handler <> ALL(ARRAY(SELECT pause.handler FROM webhooks_pause AS pause WHERE resumed_at IS NULL))
    ))
    ORDER BY publish_at, id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)"""
_CLAIMED = """, claimed AS (
    UPDATE webhooks_job AS job
    SET state = 'running', attempt = job.attempt + 1, publish_at = NULL, worker = %(worker)s, started_at = NULL,
        claimed_at = statement_timestamp(), lease_until = statement_timestamp() + known.lease * interval '1 second',
        budget_from_at = CASE WHEN job.attempt = job.budget_from_attempt THEN statement_timestamp()
                              ELSE job.budget_from_at END
    FROM due JOIN known ON known.handler = due.handler
    WHERE job.id = due.id
    RETURNING job.*, due.{place} AS place
)"""
_CLAIMED_COLUMNS = """
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
_OLDEST_FIRST = _CLAIMED.format(place="publish_at")
_OF_QUEUE = (
    _KNOWN
    + _DUE.format(
        condition="""queue = %(queue)s
          AND NOT EXISTS (SELECT FROM webhooks_pause WHERE queue = %(live_queue)s AND resumed_at IS NULL)"""
    )
    + _OLDEST_FIRST
)
_OF_ID = (
    _KNOWN
    + _DUE.format(
        condition="""id = %(job)s
          AND replace(queue, '/replay', '') <> ALL(
              ARRAY(SELECT pause.queue FROM webhooks_pause AS pause WHERE resumed_at IS NULL))"""
    )
    + _OLDEST_FIRST
)
"""What is paused is read once, before any job: of a paused queue, no job is read at all. A queue's
replay queue (webhooks/replay_queues.py) is paused with it."""
_OF_FAIR_QUEUE = _KNOWN + postgresql_fair.DUE + _CLAIMED.format(place="place")
_IN_ORDER = "ORDER BY claimed.place, claimed.id"
_RECORD = " ".join(("WITH", _CHANGED, "SELECT id, attempt FROM recorded"))
_CLAIM_OF_QUEUE, _CLAIM_OF_ID, _CLAIM_OF_FAIR_QUEUE = (
    " ".join((clause, claimed, "SELECT", _CLAIMED_COLUMNS, "FROM", _WITH_DELIVERY, _IN_ORDER))
    for clause, claimed in (("WITH", _OF_QUEUE), ("WITH", _OF_ID), ("WITH RECURSIVE", _OF_FAIR_QUEUE))
)
_RECORD_AND_CLAIM, _RECORD_AND_CLAIM_FAIRLY = (
    " ".join(
        (
            *(clause, _CHANGED, ",", claimed),
            *("SELECT (SELECT array_agg(ARRAY[id, attempt]) FROM recorded),", _CLAIMED_COLUMNS),
            *("FROM (VALUES (1)) AS one LEFT JOIN (", _WITH_DELIVERY, ") ON true", _IN_ORDER),
        )
    )
    for clause, claimed in (("WITH", _OF_QUEUE), ("WITH RECURSIVE", _OF_FAIR_QUEUE))
)
"""What is recorded stands in each row, and in one that is otherwise empty if nothing is claimed."""
_PLAN_ONCE = """
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_sort = off;
SET jit = off;
"""
"""To plan a statement that records and claims takes longer than to carry it out for ten jobs. A plan that was made
while the inbox was empty has to be good for any; without the other settings it would read whole tables."""
_RELEASE = """
UPDATE webhooks_job AS job
SET state = 'queued', lease_until = NULL, publish_at = due_at, started_at = NULL,
    budget_from_attempt = budget_from_attempt + 1
FROM unnest(%(jobs)s::bigint[], %(attempts)s::integer[]) AS given (job, attempt)
WHERE job.id = given.job AND job.attempt = given.attempt AND (job.state = 'running') IS TRUE
RETURNING job.id
"""


def insert(deliveries: Sequence[NewDelivery]) -> list[Stored | None]:
    values = {
        "deliveries": orjson.dumps([_columns(new) for new in deliveries]).decode(),
        "bodies": [kept(new.body) for new in deliveries],
        "jobs": orjson.dumps(
            [
                _job(place, new, subscription)
                for place, new in enumerate(deliveries, start=1)
                for subscription in new.subscriptions
            ]
        ).decode(),
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
    return {
        **{name: getattr(new, name) for name in (*names, "secret_fingerprint", "redacted")},
        "headers": dict(new.headers),
        "body_bytes": len(new.body),
    }


def _job(place: int, new: NewDelivery, subscription: Subscription) -> dict[str, Any]:
    keys = new.keys_of(subscription)
    return {
        "place": place,
        "handler": subscription.name,
        "queue": subscription.queue,
        "max_attempts": subscription.max_attempts,
        "once_key": new.once_key(subscription),
        "fair_key": keys.fair,
        "order_key": keys.order,
        "latest_key": keys.latest,
    }


def _stored(delivery_id: int | None, jobs: Sequence[JobToPublish]) -> Stored | None:
    if delivery_id is None:
        return None
    return Stored(delivery_id, is_duplicate=False, job_count=len(jobs), to_publish=tuple(jobs))


def exchange(
    changes: Sequence[Mapping[str, Any]], wanted: Wanted | None
) -> tuple[set[tuple[int, int]], list[tuple[Any, ...]]]:
    values: dict[str, Any] = {}
    if changes:
        values["changes"] = orjson.dumps(changes).decode()
    if wanted is None:
        return ({(pk, attempt) for pk, attempt in _all_rows(_RECORD, values)} if changes else set()), []
    values |= {
        "handlers": list(wanted.leases),
        "leases": list(wanted.leases.values()),
        "limit": wanted.limit,
        "worker": wanted.worker,
        "small": SMALL_BODY_BYTES,
    }
    if wanted.queue is None:
        return set(), _all_rows(_CLAIM_OF_ID, values | {"job": wanted.job_id})
    values |= {"queue": wanted.queue, "live_queue": live_queue(wanted.queue)}
    if wanted.after is not None:
        values["after"] = wanted.after
        with postgresql_fair.planned_by_index():
            return _recorded_and_claimed(_RECORD_AND_CLAIM_FAIRLY if changes else _CLAIM_OF_FAIR_QUEUE, values)
    return _recorded_and_claimed(_RECORD_AND_CLAIM if changes else _CLAIM_OF_QUEUE, values)


def _recorded_and_claimed(
    statement: str, values: Mapping[str, Any]
) -> tuple[set[tuple[int, int]], list[tuple[Any, ...]]]:
    rows = _all_rows(statement, values)
    if "changes" not in values:
        return set(), rows
    return {(pk, attempt) for pk, attempt in rows[0][0] or ()}, [row[1:] for row in rows if row[1] is not None]


def release(jobs: Sequence[tuple[int, int]]) -> int:
    values = {"jobs": [pk for pk, _ in jobs], "attempts": [attempt for _, attempt in jobs]}
    return len(_all_rows(_RELEASE, values))


def prepare_connection(*, wait_seconds: float) -> None:
    """Plan each statement once and for all values, by an index to each row. The committer limits the wait.

    A pooler of transactions keeps neither statements nor settings: there each run is planned for its values.
    """
    if connection.settings_dict["OPTIONS"].get("prepare_threshold") is not None:
        with connection.cursor() as cursor:
            cursor.execute(_PLAN_ONCE)


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
        return cursor.execute(statement, values, binary=True).fetchall()
