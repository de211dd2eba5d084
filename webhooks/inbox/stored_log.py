"""The log's line on what was stored: one for each commit. A line costs a receiver as much as a fifth of a delivery."""

import logging
from collections.abc import Sequence
from typing import Any

from webhooks.inbox.new_delivery import NewDelivery, Stored
from webhooks.traces.context import trace_id_of

logger = logging.getLogger(__name__)


def log_stored(committed: Sequence[tuple[NewDelivery, Stored]]) -> None:
    """Log the deliveries of one commit: a lone one by its values, several by lists of theirs."""
    if not committed or not logger.isEnabledFor(logging.INFO):
        return
    if len(committed) > 1:
        extra: dict[str, Any] = {
            "deliveries": [stored.delivery_id for _, stored in committed],
            "events": [new.event for new, _ in committed],
            "guids": [str(new.guid) for new, _ in committed],
            "jobs": sum(stored.job_count for _, stored in committed),
            "job_ids": [job.id for _, stored in committed for job in stored.to_publish],
            "trace_ids": [trace_id_of(new) for new, _ in committed],
        }
        logger.info("deliveries stored", extra=extra)
        return
    ((new, stored),) = committed
    logger.info(
        "delivery repeated" if stored.is_duplicate else "delivery stored",
        extra={
            "delivery": stored.delivery_id,
            "event": new.event,
            "guid": new.guid,
            "jobs": stored.job_count,
            "job_ids": [job.id for job in stored.to_publish],
            "trace_id": trace_id_of(new),
        },
    )
