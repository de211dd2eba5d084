"""A registry's metrics as Prometheus reads them, in the answer of every process's /metrics."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, disable_created_metrics, generate_latest


def exposition(registry: CollectorRegistry) -> tuple[str, bytes]:
    """Return the content type and the text.

    Without the library's `…_created` for each counter: they would double the number of series, and no query needs them.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CONTENT_TYPE_LATEST, generate_latest(registry)
