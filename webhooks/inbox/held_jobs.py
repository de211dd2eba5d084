"""Parts of the claim on PostgreSQL: jobs of an installation whose rate limit at GitHub is reached are put off.

Such a job is not claimed and loses no attempt: it is due again when the limit begins anew. The table has a row for each
installation whose API was called (`api_limits.py`).
"""

from collections.abc import Collection
from typing import Any

from webhooks.github_api.budget import RESERVE

SPREAD_SECONDS = 10
"""What is put off until the same moment is due within so many seconds after it."""
MOST = 1_000
"""So many of a queue's due jobs are looked at at once, if one was to be put off."""
MOST_ROUNDS = 5
"""How often a claim looks behind those that it has put off. What is left then, the next claim puts off."""

# --- The statements. Two numbers of ours are the only values in their text. -------------------------------------------

_HELD = """held AS MATERIALIZED (
    SELECT due.id, CASE WHEN api.until > statement_timestamp() THEN api.until ELSE api.resets_at END AS until
    FROM due
    JOIN webhooks_job AS its ON its.id = due.id
    JOIN webhooks_delivery AS delivery ON delivery.id = its.delivery_id
    JOIN webhooks_source AS source ON source.id = delivery.source_id
    JOIN webhooks_apilimit AS api ON api.installation_id = delivery.installation_id AND api.source = source.name
    WHERE due.handler = ANY(%(api_handlers)s::text[]) AND (
        api.until > statement_timestamp()
        OR %(is_replay)s AND api.resets_at > statement_timestamp() AND api.remaining <= api.most * %(reserve)s
    )
)"""
"""Those of what is due that wait: while GitHub refuses; replayed jobs also while only the reserve is left."""
_PUT_OFF = """
    UPDATE webhooks_job AS job
    SET due_at = held.until,
        state = CASE WHEN order_key IS NULL THEN state ELSE 'retrying' END,
        publish_at = CASE WHEN order_key IS NULL THEN held.until + random() * %(spread)s * interval '1 second' END
    FROM held WHERE job.id = held.id
"""
"""A job with an order key gives up its turn with that, as any that is put off; a relay passes it on (late_turns.py)."""
HELD = f", {_HELD}, put_off AS ({_PUT_OFF})"
"""Behind `due` in the claim."""
IS_FREE = " AND NOT EXISTS (SELECT FROM held WHERE held.id = due.id)"
_DUE = """
WITH due AS MATERIALIZED (
    SELECT id, handler FROM webhooks_job
    WHERE queue = %(queue)s AND publish_at <= statement_timestamp() AND handler = ANY(%(api_handlers)s::text[])
    ORDER BY publish_at, id
    LIMIT %(most)s
    FOR NO KEY UPDATE SKIP LOCKED
),"""
PUT_OFF = f"{_DUE} {_HELD} {_PUT_OFF} RETURNING job.id"
"""By itself: so the jobs behind a thousand of one installation are found at once, and not a few at each claim."""


def values(*, handlers: Collection[str], is_replay: bool) -> dict[str, Any]:
    """Return the values that both need beside those of the claim."""
    numbers = {"reserve": RESERVE, "spread": float(SPREAD_SECONDS), "most": MOST}
    return {"api_handlers": list(handlers), "is_replay": is_replay, **numbers}
