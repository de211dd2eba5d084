"""What a worker asks of the inbox and gets from it: values, as `transitions.py` and the engines hand them on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

SMALL_BODY_BYTES = 64 * 1024
"""A body up to this size comes with its claim. A larger one is read when its run begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs are to be claimed, and by which worker."""

    worker: str
    leases: Mapping[str, float]
    """How long the worker owns a job of each handler, in seconds. Jobs of no other handlers are claimed."""
    limit: int = 1
    queue: str | None = None
    """The queue whose due jobs are wanted, the longest due first; None if a certain job is."""
    job_id: int | None = None
    after: str | None = None
    """If the queue is shared fairly: the party after which the round begins. None if it is not."""
    api_handlers: frozenset[str] = frozenset()
    """The handlers that call GitHub's API, if a handler of the queue does. Their jobs wait while a limit is reached."""


class ClaimedJob(NamedTuple):
    """A job whose next attempt is claimed, with what the run needs of its delivery.

    A tuple, since it goes from process to process.
    """

    pk: int
    handler: str
    queue: str
    attempt: int
    max_attempts: int
    forgiven: int
    lost: int
    budget_from_attempt: int
    budget_from_at: datetime
    claimed_at: datetime
    """The database's time of the claim."""
    due_at: datetime
    """Since when it could have been claimed, by the database's clock."""
    delivery_id: int
    event: str
    action: str
    guid: UUID
    hook_id: int
    repository: str
    installation_id: int | None
    sender: str
    received_at: datetime
    source: str
    content_type: str | None
    """The header as received; None if the delivery has none."""
    traceparent: str | None
    """What the delivery has stored of its trace; None if nothing."""
    once_key: str | None
    """The key of this handler's one job for the event; None if each hook's delivery has its own job."""
    body_bytes: int
    body: bytes | None
    """As it is stored (kept_bodies.py); None if it is not small, or has been pruned."""
    order_key: str | None = None
    latest_key: str | None = None
    fair_key: str | None = None
    """See `webhooks/subscriptions/keys.py`."""
