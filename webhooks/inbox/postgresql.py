"""The engine for PostgreSQL. Each change is one statement: one round trip and one transaction.

They do not use the ORM: a child of a worker that runs less code needs less memory (decision 0008).
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import orjson
from django.db import connection

from webhooks.inbox import held_jobs, postgresql_claims, postgresql_fair
from webhooks.inbox.claimed_job import SMALL_BODY_BYTES, Wanted
from webhooks.inbox.kept_bodies import kept
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored
from webhooks.replay_queues import is_replay_queue, live_queue
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
_PLAN_ONCE = """
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_sort = off;
SET jit = off;
"""
"""To plan a statement that records and claims takes longer than to carry it out for ten jobs. A plan that was made
while the inbox was empty has to be good for any; without the other settings it would read whole tables."""
_RELEASE = """
WITH locked AS MATERIALIZED (
    SELECT job.id FROM webhooks_job AS job
    JOIN unnest(%(jobs)s::bigint[], %(attempts)s::integer[]) AS given (job, attempt)
        ON job.id = given.job AND job.attempt = given.attempt
    WHERE (job.state = 'running') IS TRUE
    ORDER BY job.id
    FOR NO KEY UPDATE OF job
)
UPDATE webhooks_job AS job
SET state = 'queued', lease_until = NULL, publish_at = due_at, started_at = NULL,
    budget_from_attempt = budget_from_attempt + 1
FROM locked
WHERE job.id = locked.id
RETURNING job.id
"""
"""Locked in one order by any plan, so that two that give back the same jobs do not wait for each other in a circle.
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
        recorded = _all_rows(postgresql_claims.RECORD, values) if changes else []
        return {(pk, attempt) for pk, attempt in recorded}, []
    values |= {
        "handlers": list(wanted.leases),
        "leases": list(wanted.leases.values()),
        "limit": wanted.limit,
        "worker": wanted.worker,
        "small": SMALL_BODY_BYTES,
    }
    if wanted.queue is None:
        return set(), _all_rows(postgresql_claims.CLAIM_OF_ID, values | {"job": wanted.job_id})
    values |= {"queue": wanted.queue, "live_queue": live_queue(wanted.queue), "after": wanted.after}
    with postgresql_fair.planned_by_index() if wanted.after is not None else nullcontext():
        return _recorded_and_claimed(values, wanted)


def _recorded_and_claimed(
    values: Mapping[str, Any], wanted: Wanted
) -> tuple[set[tuple[int, int]], list[tuple[Any, ...]]]:
    """Record and claim; put jobs off whose installation has no call left at GitHub, and claim those behind them."""
    assert wanted.queue is not None
    statement = partial(
        postgresql_claims.of_queue, is_shared=wanted.after is not None, uses_api=bool(wanted.api_handlers)
    )
    if wanted.api_handlers:
        is_replay = is_replay_queue(wanted.queue)
        values = {**values, **held_jobs.values(handlers=wanted.api_handlers, is_replay=is_replay)}
    rows = _all_rows(statement(records="changes" in values), values)
    recorded = {(pk, attempt) for pk, attempt in rows[0][0] or ()}
    claimed = [row[2:] for row in rows if row[2] is not None]
    for _ in range(held_jobs.MOST_ROUNDS):
        if not rows[0][1] or len(claimed) >= wanted.limit:
            break
        _all_rows(held_jobs.PUT_OFF, values)
        rows = _all_rows(statement(records=False), {**values, "limit": wanted.limit - len(claimed)})
        claimed += [row[2:] for row in rows if row[2] is not None]
    return recorded, claimed


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
