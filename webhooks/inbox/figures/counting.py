"""Counts one minute, or one hour, and replaces its rows. In SQL, so that no row of the inbox comes to this process.

Deliveries are found by the index on `received_at`, attempts by the one on `finished_at`. `making.py` says when.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from django.db import connection

from webhooks.inbox.figures.histogram import BUCKETS, RAN, WAITED
from webhooks.models import FigureHour, FigureMinute
from webhooks.models.figures import Kind

_KEY = "at, kind, queue, handler, event, outcome"
_TOOK = [f"took_{place}" for place in range(BUCKETS)]
_WAITED = [f"waited_{place}" for place in range(BUCKETS)]
_COUNTS = ["count", "seconds", *_TOOK, "waits", "wait_seconds", *_WAITED]

_SECONDS = {
    "postgresql": "greatest(0.0, extract(epoch FROM {end} - {start}))::float8",
    # Julian days have a tenth of a millisecond.
    "sqlite": "max(0.0, (julianday({end}) - julianday({start})) * 86400.0)",
}


def _buckets(column: str, bounds: Sequence[float]) -> list[str]:
    """Return what counts the durations of a column in each bucket."""
    edges = [0.0, *bounds, None]
    sums = []
    for lower, upper in pairwise(edges):
        above = f"{column} >= {lower}"
        inside = above if upper is None else f"{above} AND {column} < {upper}"
        sums.append(f"sum(CASE WHEN {inside} THEN 1 ELSE 0 END)")
    return sums


_OF_ATTEMPTS = [
    "count(*)", "sum(ran)", *_buckets("ran", RAN),
    "count(waited)", "coalesce(sum(waited), 0)", *_buckets("waited", WAITED),
]  # fmt: skip
_NO_DURATIONS = ["0"] * (len(_COUNTS) - 1)

_RECEIVED = f"""
INSERT INTO webhooks_figureminute ({_KEY}, {", ".join(_COUNTS)})
SELECT {{at}}, '{Kind.RECEIVED.value}', '', '', event, '', count(*), {", ".join(_NO_DURATIONS)}
FROM webhooks_delivery WHERE received_at >= %(first)s AND received_at < %(last)s
GROUP BY event
"""  # noqa: S608  Of constants.
_RAN = f"""
INSERT INTO webhooks_figureminute ({_KEY}, {", ".join(_COUNTS)})
SELECT {{at}}, '{Kind.RAN.value}', queue, handler, event, outcome, {", ".join(_OF_ATTEMPTS)}
FROM (
    SELECT job.queue, job.handler, delivery.event, attempt.outcome, {{ran}} AS ran,
           CASE WHEN attempt.number = 1 THEN {{waited}} END AS waited
    FROM webhooks_attempt AS attempt
    JOIN webhooks_job AS job ON job.id = attempt.job_id
    JOIN webhooks_delivery AS delivery ON delivery.id = job.delivery_id
    WHERE attempt.finished_at >= %(first)s AND attempt.finished_at < %(last)s
) AS ended
GROUP BY queue, handler, event, outcome
"""  # noqa: S608
_HOUR = f"""
INSERT INTO webhooks_figurehour ({_KEY}, {", ".join(_COUNTS)})
SELECT {{at}}, kind, queue, handler, event, outcome, {", ".join(f"sum({column})" for column in _COUNTS)}
FROM webhooks_figureminute WHERE at >= %(first)s AND at < %(last)s
GROUP BY kind, queue, handler, event, outcome
"""  # noqa: S608
_HOUR_OF_ANSWERS = f"""
INSERT INTO webhooks_figurehour ({_KEY}, {", ".join(_COUNTS)})
SELECT {{at}}, '{Kind.ANSWERED.value}', '', '', '', result, sum(count), sum(seconds),
       {", ".join(f"sum({column})" for column in _TOOK)}, {", ".join(["0"] * (2 + BUCKETS))}
FROM webhooks_answerminute WHERE at >= %(first)s AND at < %(last)s
GROUP BY result
"""  # noqa: S608


def count_minute(minute: datetime) -> None:
    """Replace a minute's rows by what the deliveries and attempts say now. Call it in a transaction."""
    FigureMinute.objects.filter(at=minute).delete()
    for statement in (_RECEIVED, _RAN):
        _insert(statement, first=minute, last=minute + timedelta(minutes=1))


def count_hour(hour: datetime) -> None:
    """Replace an hour's rows by the sums of its minutes. Call it in a transaction, while the minutes are kept."""
    FigureHour.objects.filter(at=hour).delete()
    for statement in (_HOUR, _HOUR_OF_ANSWERS):
        _insert(statement, first=hour, last=hour + timedelta(hours=1))


def _insert(statement: str, *, first: datetime, last: datetime) -> None:
    seconds = _SECONDS[connection.vendor]
    text = statement.format(
        at="%(first)s",
        ran=seconds.format(end="attempt.finished_at", start="attempt.started_at"),
        waited=seconds.format(end="attempt.started_at", start="job.created_at"),
    )
    adapted = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute(text, {"first": adapted(first), "last": adapted(last)})
