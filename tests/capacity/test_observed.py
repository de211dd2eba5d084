"""The simulation against bursts on a real Kubernetes: how far off it may be is in docs/kubernetes.md."""

import pytest

from tests.capacity.observed_bursts import FILES, MOST_WORKERS, READY, Compared, Observed, compare

ALLOWED_SHARE = 0.2
"""Of the most waiting jobs, the time until all is done, and replica-hours."""
ALLOWED_SECONDS = 35.0
"""Of the moments at which workers are ready: the autoscaler looks every 15 s, at figures that are 5 to 20 s old, and
grows in two steps or in three."""
ALLOWED_WORKERS = 1
"""Where the CPU is at the edge of the tolerance, one look above it decides."""


def test_there_are_bursts_to_compare_with() -> None:
    assert FILES


@pytest.mark.parametrize("burst", [Observed.of(file) for file in FILES], ids=lambda burst: burst.name)
def test_a_simulated_burst_is_like_the_observed_one(burst: Observed) -> None:
    wrong = [each for each in compare(burst) if not is_near(each)]
    assert not wrong


def is_near(each: Compared) -> bool:
    off = abs(each.observed - each.simulated)
    if each.what == MOST_WORKERS:
        return off <= ALLOWED_WORKERS
    return off <= ALLOWED_SECONDS if each.what.endswith(READY) else each.error <= ALLOWED_SHARE
