"""The alarm for a header in which GitHub has sent webhook secrets: X-Github-Encoded-Secret, for some months of 2025.

Whatever took part in the delivery may have noted the secret: proxies, load balancers, a log of requests. The value is
taken away where a request's headers are first read, and looked at nowhere. A delivery that carries the header is taken
in as any other. Only what the source has signed raises the alarm: else a stranger could.
"""

import logging
import threading
import time

from django.conf import settings
from django.db import Error, connection
from django.db.models.functions import Now
from prometheus_client import Counter

from webhooks.inbox import database
from webhooks.models import Source

HEADER = "X-Github-Encoded-Secret"
SCRUBBED = "[scrubbed]"
"""Stands in place of the header's value."""
EVERY_SECONDS = 60.0
"""How often a process logs and notes it of one source."""

logger = logging.getLogger(__name__)
_SEEN = Counter(
    "hookline_encoded_secret",
    "Deliveries, signed by the source, that carried a secret in the header X-Github-Encoded-Secret.",
    ["source"],
)
for _source in settings.HOOKLINE_SOURCES:  # From 0 on: Prometheus sees no rise from nothing to 1.
    _SEEN.labels(_source)
_lock = threading.Lock()
_next_at: dict[str, float] = {}


def alarm(source: str) -> None:
    """Count a delivery with the header; and, at most once a minute, log it and note it in the database.

    Never waits for the database.
    """
    _SEEN.labels(source).inc()
    now = time.monotonic()
    with _lock:
        if now < _next_at.get(source, now):
            return
        _next_at[source] = now + EVERY_SECONDS
    logger.error(
        "a delivery carried a secret in a header; replace the source's webhook secret", extra={"source": source}
    )
    threading.Thread(target=_note, args=(source,), name="encoded-secret", daemon=True).start()


def _note(source: str) -> None:
    try:
        database.run(lambda: Source.objects.update_or_create(name=source, defaults={"encoded_secret_at": Now()}))
    except Error as error:
        logger.warning("the alarm is not noted", extra={"reason": f"the database {database.reason(error)}"})
    finally:
        connection.close()
