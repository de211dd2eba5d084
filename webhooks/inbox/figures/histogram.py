"""Buckets of durations: a duration is counted in one of ten columns, and a percentile is read from their counts."""

from bisect import bisect_right
from collections.abc import Sequence

RAN = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
"""Seconds that a run took. Each bound belongs to the bucket above it; the last bucket has no end."""
WAITED = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0)
"""Seconds from a job's storing to its first run."""
ANSWERED = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Seconds from a webhook's head to its answer."""
BUCKETS = 10


def bucket_of(seconds: float, bounds: Sequence[float]) -> int:
    """Return the number of the bucket in which a duration is counted."""
    return bisect_right(bounds, seconds)


def percentile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Return the duration that this share of all stayed below, as if each bucket were evenly filled; None without any.

    Of the last bucket, which has no end, it is the beginning: the duration was that or more.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for place, count in enumerate(counts):
        if count and below + count >= rank:
            lower = bounds[place - 1] if place else 0.0
            upper = bounds[place] if place < len(bounds) else lower
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return bounds[-1]
