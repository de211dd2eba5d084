"""Which due jobs PostgreSQL claims of a queue that is shared fairly: one of each party in turn (decision 0019).

Each part reads only as many rows as the next one asks for, the last of which ends at its limit. So a claim costs a few
lookups in an index for each job that it brings, whatever waits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

MOST_PARTIES = 1_000
"""So many parties are looked at, at most, of which none has a job that is due; the next claim begins elsewhere."""
MOST_HELD = 1_000
"""So many jobs of one party, at most, are passed over since another worker claims them at this moment."""

_PARTIES = f"""
{{name}} AS (
    (
        SELECT fair_key, {{first}} AS place FROM webhooks_job
        WHERE queue = %(queue)s AND publish_at IS NOT NULL AND {{bounds}}
              AND (SELECT NOT handlers <@ paused OR cardinality(admitted) > 0 FROM allowed)
        ORDER BY fair_key LIMIT 1
    )
    UNION ALL
    SELECT following.fair_key, {{name}}.place + 1
    FROM {{name}}, LATERAL (
        SELECT fair_key FROM webhooks_job
        WHERE queue = %(queue)s AND publish_at IS NOT NULL AND fair_key > {{name}}.fair_key AND {{bounds}}
        ORDER BY fair_key LIMIT 1
    ) AS following
    WHERE {{name}}.place < {{first}} + {MOST_PARTIES}
)"""  # noqa: S608
_MAY_RUN = """handler = ANY((SELECT handlers FROM allowed)::text[]) AND (
              handler <> ALL((SELECT paused FROM allowed)::text[])
              OR id = ANY((SELECT admitted FROM allowed)::bigint[])
          )"""
_NEXT_OF_PARTY = f"""LATERAL (
    SELECT id, publish_at FROM webhooks_job
    WHERE queue = %(queue)s AND fair_key IS NOT NULL AND publish_at IS NOT NULL
          AND {{after}} AND (fair_key, publish_at) <= ({{party}}.fair_key, statement_timestamp())
          AND {_MAY_RUN}
    ORDER BY fair_key, publish_at, id LIMIT 1
) AS following"""  # noqa: S608
"""So written, no other index than `job_fair` has the order that is asked for, and sorting is ruled out: whatever the
statistics say, which may be of a time when nothing waited."""
_FIRST = _NEXT_OF_PARTY.format(party="party", after="(fair_key, publish_at) >= (party.fair_key, '-infinity')")
_NEXT = _NEXT_OF_PARTY.format(
    party="turn", after="(fair_key, publish_at, id) > (turn.fair_key, turn.publish_at, turn.id)"
)
DUE = f"""
allowed AS MATERIALIZED (
    SELECT array_agg(handler) AS handlers,
           ARRAY(SELECT pause.handler FROM webhooks_pause AS pause WHERE resumed_at IS NULL)::text[] AS paused,
           ARRAY(
               SELECT admitted_job FROM webhooks_pause WHERE resumed_at IS NULL AND admitted_job IS NOT NULL
           ) AS admitted
    FROM known
    WHERE NOT EXISTS (SELECT FROM webhooks_pause WHERE queue = %(live_queue)s AND resumed_at IS NULL)
), {_PARTIES.format(name="ahead", first=1, bounds="fair_key > %(after)s").strip()},
{_PARTIES.format(name="around", first=MOST_PARTIES + 2, bounds="fair_key <= %(after)s").strip()},
turn AS (
    SELECT party.fair_key, party.place, 1 AS round, following.id, following.publish_at
    FROM (SELECT * FROM ahead UNION ALL SELECT * FROM around) AS party, {_FIRST}
    UNION ALL
    SELECT turn.fair_key, turn.place, turn.round + 1, following.id, following.publish_at
    FROM turn, {_NEXT}
    WHERE turn.round < %(limit)s + {MOST_HELD}
), of_parties AS MATERIALIZED (
    SELECT job.id, job.handler, job.publish_at, turn.round::bigint * 10000 + turn.place AS place
    FROM turn, LATERAL (
        SELECT id, handler, publish_at FROM webhooks_job
        WHERE id = turn.id AND publish_at <= statement_timestamp()
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS job
    LIMIT %(limit)s
), of_nobody AS MATERIALIZED (
    SELECT id, handler, publish_at, {2**62} AS place FROM webhooks_job
    WHERE queue = %(queue)s AND publish_at <= statement_timestamp() AND fair_key IS NULL
          AND {_MAY_RUN}
    ORDER BY publish_at, id
    LIMIT %(limit)s - (SELECT count(*) FROM of_parties)
    FOR NO KEY UPDATE SKIP LOCKED
), due AS MATERIALIZED (
    SELECT * FROM of_parties UNION ALL SELECT * FROM of_nobody
)"""  # noqa: S608
"""`ahead` and `around` are the parties with waiting jobs, those after the one that was served last and then the others.
`turn` has the first due job of each, then the second of each, and so on. What waits without a party is of a release or
a time that knew of none; a relay gives it one (`webhooks/publishing/strays.py`)."""
_PLAN_BY_INDEX = """
SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off; SET LOCAL jit = off
"""


@contextmanager
def planned_by_index() -> Iterator[None]:
    """Rule the other plans out behind a pooler of transactions too, where `prepare_connection` has not."""
    if connection.settings_dict["OPTIONS"].get("prepare_threshold") is not None:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_PLAN_BY_INDEX)
        yield
