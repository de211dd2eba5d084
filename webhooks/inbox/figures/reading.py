"""What the figures say, for the console: each function asks one question, by one short query.

Figures of minutes are at most ten seconds old, those of hours a minute. `Span` says which of the two are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Model, Q, QuerySet, Sum

from webhooks.inbox.figures.histogram import ANSWERED, BUCKETS, RAN, percentile
from webhooks.inbox.figures.making import HOUR, MINUTE, hour_of, minute_of
from webhooks.models import AnswerMinute, FigureHour, FigureMark, FigureMinute, QueueMinute, Release
from webhooks.models.figures import Kind
from webhooks.states import AttemptOutcome

GOOD = (AttemptOutcome.SUCCEEDED, AttemptOutcome.RETRY_LATER, AttemptOutcome.HANDED_BACK)
"""Outcomes that are no failure: the last two hand the job back as planned."""
_TOOK = {f"took_{place}": Sum(f"took_{place}") for place in range(BUCKETS)}


@dataclass(frozen=True, slots=True)
class Span:
    """A time in minutes, up to the last one that is over, or in hours, up to the one that is now."""

    first: datetime
    last: datetime
    is_hourly: bool
    now: datetime

    @property
    def step(self) -> timedelta:
        return HOUR if self.is_hourly else MINUTE

    @property
    def moments(self) -> list[datetime]:
        """Return the beginnings of all of its minutes or hours."""
        return [self.first + self.step * place for place in range((self.last - self.first) // self.step + 1)]

    def minutes_in(self, at: datetime) -> int:
        """Return how many minutes a figure stands for: of the hour that is now, those that have begun."""
        return min(self.step, minute_of(self.now) + MINUTE - at) // MINUTE


def span_of(now: datetime, *, hours: int, is_hourly: bool) -> Span:
    last = hour_of(now) if is_hourly else minute_of(now) - MINUTE
    step = HOUR if is_hourly else MINUTE
    return Span(last - timedelta(hours=hours) + step, last, is_hourly, now)


@dataclass(frozen=True, slots=True)
class Answers:
    """What receivers answered: counts by result and moment, and how soon deliveries were acknowledged by moment."""

    counts: Mapping[str, Mapping[datetime, int]]
    median: Mapping[datetime, float]
    p99: Mapping[datetime, float]
    whole_median: float | None
    whole_p99: float | None
    """Of the whole span, in seconds; None if nothing was acknowledged."""


def answers(span: Span, *, acknowledged: Sequence[str]) -> Answers:
    """Read what was answered; `acknowledged` are the results that tell GitHub that its delivery is stored."""
    rows = _answer_rows(span).values("at", "result").annotate(total=Sum("count"), **_TOOK).order_by("at")
    counts: dict[str, dict[datetime, int]] = {}
    buckets: dict[datetime, list[int]] = {}
    for row in rows:
        counts.setdefault(row["result"], {})[row["at"]] = row["total"]
        if row["result"] in acknowledged:
            _add(buckets.setdefault(row["at"], [0] * BUCKETS), row)
    whole = [sum(column) for column in zip(*buckets.values(), strict=True)]
    return Answers(
        counts=counts,
        median={at: percentile(found, ANSWERED, 0.5) or 0.0 for at, found in buckets.items()},
        p99={at: percentile(found, ANSWERED, 0.99) or 0.0 for at, found in buckets.items()},
        whole_median=percentile(whole, ANSWERED, 0.5),
        whole_p99=percentile(whole, ANSWERED, 0.99),
    )


def _answer_rows(span: Span) -> QuerySet[Any, Any]:
    if span.is_hourly:
        hours: QuerySet[Any] = _within(FigureHour, span).filter(kind=Kind.ANSWERED).annotate(result=F("outcome"))
        return hours
    return _within(AnswerMinute, span)


def _within(model: type[Model], span: Span) -> QuerySet[Any, Any]:
    return model._default_manager.filter(at__gte=span.first, at__lte=span.last)


def _add(buckets: list[int], row: Mapping[str, Any]) -> None:
    for place in range(BUCKETS):
        buckets[place] += row[f"took_{place}"]


def received(span: Span) -> dict[datetime, int]:
    """Return how many deliveries were received and stored."""
    rows = _figures(span, Kind.RECEIVED).values("at").annotate(total=Sum("count"))
    return {row["at"]: row["total"] for row in rows}


def _figures(span: Span, kind: Kind) -> QuerySet[Any, Any]:
    return _within(FigureHour if span.is_hourly else FigureMinute, span).filter(kind=kind).order_by()


@dataclass(slots=True)
class Runs:
    """Runs of one handler: how many, how many of them failed, and how long they took."""

    count: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def failure_share(self) -> float:
        return self.failed / self.count if self.count else 0.0

    @property
    def mean_seconds(self) -> float:
        return self.seconds / self.count if self.count else 0.0

    def add(self, other: "Runs") -> None:
        self.count += other.count
        self.failed += other.failed
        self.seconds += other.seconds


def runs_by_handler(span: Span) -> dict[str, dict[datetime, Runs]]:
    """Return each handler's runs by the moment of their end."""
    rows = (
        _figures(span, Kind.RAN)
        .values("handler", "at")
        .annotate(
            total=Sum("count"), failures=Sum("count", filter=~Q(outcome__in=GOOD), default=0), time=Sum("seconds")
        )
    )
    found: dict[str, dict[datetime, Runs]] = {}
    for row in rows:
        found.setdefault(row["handler"], {})[row["at"]] = Runs(row["total"], row["failures"], row["time"])
    return found


def durations_by_handler(span: Span) -> dict[str, tuple[float, float]]:
    """Return the median and the 99th percentile of each handler's runs, in seconds."""
    found = {}
    for row in _figures(span, Kind.RAN).values("handler").annotate(**_TOOK):
        buckets = [0] * BUCKETS
        _add(buckets, row)
        found[row["handler"]] = (percentile(buckets, RAN, 0.5) or 0.0, percentile(buckets, RAN, 0.99) or 0.0)
    return found


def succeeded(span: Span) -> int:
    """Return how many runs succeeded, each of which ended its job."""
    ran = _figures(span, Kind.RAN).filter(outcome=AttemptOutcome.SUCCEEDED)
    return int(ran.aggregate(total=Sum("count"))["total"] or 0)


def depths(span: Span) -> dict[str, dict[datetime, int]]:
    """Return how many jobs waited in each queue, by minute; a queue in which none waited has no value."""
    found: dict[str, dict[datetime, int]] = {}
    for queue, at, jobs in _within(QueueMinute, span).values_list("queue", "at", "jobs"):
        found.setdefault(queue, {})[at] = jobs
    return found


def releases(span: Span) -> list[tuple[str, datetime]]:
    """Return the releases that were first seen in the span, the oldest first."""
    seen = Release.objects.filter(first_seen_at__gte=span.first).order_by("first_seen_at")
    return list(seen.values_list("name", "first_seen_at"))


def written_at() -> datetime | None:
    """Return when a relay made figures last; None if none ever has."""
    return FigureMark.objects.values_list("written_at", flat=True).first()
