"""The figures that Home's script draws, and what stands beside them in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webhooks.inbox.figures import reading
from webhooks.inbox.figures.reading import Span

LABELS = {
    "stored": "stored",
    "duplicate": "duplicate",
    "unsigned": "wrong signature",
    "foreign": "not GitHub's address",
    "refused": "refused",
    "too_large": "too large",
    "too_slow": "too slow",
    "hung_up": "hung up",
    "unavailable": "not available (503)",
    "failed": "failed (500)",
}
"""What came of the deliveries, by the names of the receiver's metric, in the order of the legend.

The first two tell GitHub that the delivery is stored.
"""
ACKNOWLEDGED = ("stored", "duplicate")
RANGES = {"1h": (1, False), "6h": (6, False), "24h": (24, True), "7d": (168, True)}
"""Each range's hours, and whether it is drawn by hours."""
DEFAULT_RANGE = "1h"


@dataclass(frozen=True, slots=True)
class Charts:
    """What is drawn, and the sums that stand above it."""

    drawn: Mapping[str, Any]
    deliveries: int
    results: Sequence[tuple[str, int]]
    median: float | None
    p99: float | None
    releases: Sequence[tuple[str, datetime]]


def charts(span: Span) -> Charts:
    """Read the charts of a span, for a script that draws them: moments in seconds since 1970, and a value for each."""
    answers, releases = reading.answers(span, acknowledged=ACKNOWLEDGED), reading.releases(span)
    moments = span.moments
    shown = [result for result in LABELS if result in answers.counts or result == "stored"]
    return Charts(
        drawn={
            "at": [int(at.timestamp()) for at in moments],
            "received": [
                {
                    "name": result,
                    "label": LABELS[result],
                    # By the minute also where it is drawn by the hour, so that the two compare.
                    "values": [
                        round(answers.counts.get(result, {}).get(at, 0) / span.minutes_in(at), 2) for at in moments
                    ],
                }
                for result in shown
            ],
            "acknowledged": [
                {"name": name, "label": name, "values": [_milliseconds(found.get(at)) for at in moments]}
                for name, found in (("p50", answers.median), ("p99", answers.p99))
            ],
            "marks": [{"at": int(at.timestamp()), "name": name} for name, at in releases],
        },
        deliveries=sum(reading.received(span).values()),
        results=[(LABELS[result], sum(answers.counts.get(result, {}).values())) for result in shown],
        median=answers.whole_median,
        p99=answers.whole_p99,
        releases=releases,
    )


def _rate(count: int, minutes: int) -> float:
    return round(count / minutes, 2)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1_000 * seconds, 2)


def sparkline(values: Mapping[datetime, int], span: Span) -> str:
    """Return the points of a line in a box of 100 by 20, its lower left corner being none at the beginning."""
    moments = span.moments
    most = max(values.values(), default=0) or 1
    width = 100 / max(1, len(moments) - 1)
    return " ".join(f"{place * width:.1f},{20 - 19 * values.get(at, 0) / most:.1f}" for place, at in enumerate(moments))
