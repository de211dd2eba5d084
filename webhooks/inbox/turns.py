"""Whose turn it is among jobs with the same key (`one_at_a_time_by`), and which jobs a newer one supersedes
(`latest_only_by`). A part of both engines; jobs without a key never come here.

Of the jobs with one order key one *has the turn*: it runs, or it waits and has a `publish_at`, so that a worker may
claim it. The others wait without: no claim sees them. The unique index `job_turn` holds this for any two writers.

Whoever changes a job with a key does it inside `held`: first it locks the keys, in a statement of their own, so that
the next statement sees all that others did before they let go of them. At its end, `settle` says whose turn it is:

- first the jobs that are due, in the order in which they came;
- then the one of those put off (a retry, `RetryLater`) that is due first. It keeps the turn only until another job
  comes: so a job that is put off for hours, or fails again and again, holds up no other;
- jobs of replays after all others.

A claim needs no lock, since it moves no turn; nor does what ends in the state that the job had before.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from webhooks.models import Job
from webhooks.replay_queues import MARK

_SUPERSEDE = """
UPDATE webhooks_job
SET state = 'skipped', publish_at = NULL, finished_at = {now}, superseded_by = ({newest}),
    error = 'Superseded by job ' || ({newest}) || ', which a newer delivery brought.'
WHERE latest_key IN ({keys}) AND finished_at IS NULL AND state <> 'running' AND id <> ({newest})
"""
_NEWEST = """
SELECT newer.id FROM webhooks_job AS newer JOIN webhooks_delivery AS delivery ON delivery.id = newer.delivery_id
WHERE newer.latest_key = webhooks_job.latest_key AND newer.finished_at IS NULL
ORDER BY delivery.received_at DESC, newer.id DESC LIMIT 1
"""
"""Of deliveries that were committed together, the ids are not in the order in which they came; those of jobs are."""
_YIELD = f"""
UPDATE webhooks_job SET publish_at = NULL
WHERE order_key IN ({{keys}}) AND publish_at IS NOT NULL AND (publish_at > {{now}} OR queue LIKE '%%{MARK}')
"""  # noqa: S608
_GIVE = f"""
WITH asked (order_key) AS (VALUES {{rows}})
UPDATE webhooks_job SET publish_at = due_at, turn_at = {{now}}
WHERE id IN (
    SELECT (
        SELECT id FROM (
            SELECT * FROM (
                SELECT id, 0 AS place FROM webhooks_job AS job
                WHERE job.order_key = asked.order_key AND state = 'queued' AND queue NOT LIKE '%%{MARK}'
                ORDER BY id LIMIT 1
            ) AS first_queued
            UNION ALL SELECT * FROM (
                SELECT id, 0 FROM webhooks_job AS job
                WHERE job.order_key = asked.order_key AND state = 'retrying' AND due_at <= {{now}}
                      AND queue NOT LIKE '%%{MARK}'
                ORDER BY due_at, id LIMIT 1
            ) AS first_due
            UNION ALL SELECT * FROM (
                SELECT id, 1 FROM webhooks_job AS job
                WHERE job.order_key = asked.order_key AND state = 'queued'
                ORDER BY id LIMIT 1
            ) AS first_replayed
            UNION ALL SELECT * FROM (
                SELECT id, 2 FROM webhooks_job AS job
                WHERE job.order_key = asked.order_key AND state = 'retrying'
                ORDER BY due_at, id LIMIT 1
            ) AS first_put_off
        ) AS candidate
        ORDER BY place, id LIMIT 1
    )
    FROM asked
    WHERE NOT EXISTS (
        SELECT 1 FROM webhooks_job AS job
        WHERE job.order_key = asked.order_key AND (job.state = 'running' OR job.publish_at IS NOT NULL)
    )
)
RETURNING id
"""  # noqa: S608
"""Each is a lookup in an index that holds only jobs with keys, however many jobs a key has."""


_SQLITE_NOW = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now') || '000'"
"""SQLite compares moments as texts, and those that are added to have six digits: what is due now would not be."""


class HasKeys(Protocol):
    """A job, or values of one."""

    @property
    def order_key(self) -> str | None: ...
    @property
    def latest_key(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of some jobs."""

    order: frozenset[str] = frozenset()
    latest: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.order or self.latest)

    @classmethod
    def of(cls, jobs: Iterable[HasKeys]) -> "Keys":
        return cls.of_pairs((job.order_key, job.latest_key) for job in jobs)

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str | None, str | None]]) -> "Keys":
        """Return the keys of jobs of which order key and latest key are given."""
        known = {pair for pair in pairs if pair != (None, None)}
        if not known:
            return NONE
        return cls(
            frozenset(order for order, _ in known if order is not None),
            frozenset(latest for _, latest in known if latest is not None),
        )

    @property
    def only_these(self) -> Q:
        """The condition on jobs that have no keys, or these."""
        return (Q(order_key=None) | Q(order_key__in=self.order)) & (Q(latest_key=None) | Q(latest_key__in=self.latest))


NONE = Keys()


def keys_of(jobs: QuerySet[Job]) -> Keys:
    """Read the keys of jobs. A job's keys never change."""
    keyed = jobs.exclude(order_key=None, latest_key=None).order_by()
    return Keys.of_pairs(keyed.values_list("order_key", "latest_key").distinct())


@contextmanager
def held(keys: Keys, *, besides: Iterable[str] = ()) -> Iterator[set[int]]:
    """Hold these keys while jobs with them change, and settle whose turn it is; without keys do nothing.

    At the end, what was yielded holds the jobs that were given the turn.
    """
    given: set[int] = set()
    if not keys:
        yield given
        return
    with transaction.atomic():
        lock(keys, besides=besides)
        yield given
        given.update(settle(keys))


def lock(keys: Keys, *, besides: Iterable[str] = ()) -> None:
    """Lock keys until the transaction ends, before any row. On SQLite, a transaction that writes is alone anyway.

    All lock them in one order, and so nobody waits for somebody who waits for him.
    """
    if keys and connection.vendor == "postgresql":
        numbers = sorted({_number(key) for key in (*keys.order, *keys.latest, *besides)})
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(pg_advisory_xact_lock(key)) FROM unnest(%s::bigint[]) AS key", [numbers])


def settle(keys: Keys) -> list[int]:
    """End what a newer job supersedes, and pass turns on; return the jobs that were given the turn. The keys are
    locked.

    Nothing changes where it was called before, and nothing has happened since.
    """
    if keys.latest:
        _run(_SUPERSEDE, sorted(keys.latest))
    if not keys.order:
        return []
    order = sorted(keys.order)
    _run(_YIELD, order)
    return _run(_GIVE, order)


def _run(statement: str, keys: Sequence[str]) -> list[int]:
    now = "statement_timestamp()" if connection.vendor == "postgresql" else _SQLITE_NOW
    marks, rows = ", ".join(["%s"] * len(keys)), ", ".join(["(%s)"] * len(keys))
    with connection.cursor() as cursor:
        cursor.execute(statement.format(now=now, keys=marks, rows=rows, newest=_NEWEST), list(keys))
        return [pk for (pk,) in cursor.fetchall()] if "RETURNING" in statement else []


def _number(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode(errors="surrogatepass")).digest()[:8], signed=True)
