"""The receiver's metrics of the deliveries that it was sent: how many, what came of each, how long the answer took.

Each series is bounded by GitHub's own list of events: a stranger may send any name, also one that is signed by nobody.
"""

from prometheus_client import Counter, Histogram

from webhooks.github.event_names import EVENT_NAMES

OTHER = "other"
"""Stands for each event that GitHub does not document."""
HUNG_UP = 0
"""In place of a status: the sender has closed the connection before there was an answer."""
STORED, DUPLICATE, REFUSED = "stored", "duplicate", "refused"
RESULTS = {
    HUNG_UP: "hung_up",
    200: DUPLICATE,
    202: STORED,
    401: "unsigned",
    403: "foreign",
    408: "too_slow",
    413: "too_large",
    500: "failed",
    503: "unavailable",
}
"""By the status of the answer. Any other status is a request that GitHub does not send: REFUSED."""

DELIVERIES = Counter(
    "hookline_receiver_deliveries_total",
    "POSTs to a webhook's URL, by event and by what came of them.",
    ["event", "result"],
)
ACKNOWLEDGEMENT_SECONDS = Histogram(
    "hookline_receiver_acknowledgement_seconds",
    "How long it took to acknowledge a delivery: from its head to the answer, its body and the commit included.",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


def count(event: str, status: int, *, seconds: float) -> str:
    """Count a delivery that was answered with this status, or by nothing (HUNG_UP), after so many seconds.

    Return what came of it: one of RESULTS, or REFUSED.
    """
    result = RESULTS.get(status, REFUSED)
    DELIVERIES.labels(event if event in EVENT_NAMES else OTHER, result).inc()
    if result in (STORED, DUPLICATE):
        ACKNOWLEDGEMENT_SECONDS.observe(seconds)
    return result
