"""What the inbox takes in and what it answers: values, as `store.py` and the engines hand them on."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from webhooks.subscriptions.keys import JobKeys
from webhooks.subscriptions.subscription import Subscription

NO_KEYS = JobKeys()

Key = tuple[str, int, uuid.UUID]
"""What names a delivery: its source, hook and GUID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A verified delivery, with the subscriptions that it matches."""

    source: str
    hook_id: int
    guid: uuid.UUID
    event: str
    action: str
    repository: str
    installation_id: int | None
    sender: str
    secret_fingerprint: str
    headers: Mapping[str, str]
    body: bytes
    """In clear, whatever the database holds of it; and without what was redacted."""
    subscriptions: Sequence[Subscription]
    keys: Mapping[str, JobKeys] = field(default_factory=dict)
    """By the names of those subscriptions whose jobs have any."""
    redacted: Mapping[str, int] | None = None
    """How many values each path of HOOKLINE_REDACT has replaced; None if none has."""

    @property
    def key(self) -> Key:
        """What names the delivery: the inbox holds it once."""
        return self.source, self.hook_id, self.guid

    def once_key(self, subscription: Subscription) -> str | None:
        """Return what names the subscription's one job for the event; None where each hook's delivery has its own."""
        return subscription.once_key(source=self.source, guid=self.guid)

    def keys_of(self, subscription: Subscription) -> JobKeys:
        """Return the keys of the subscription's job."""
        return self.keys.get(subscription.name, NO_KEYS)


@dataclass(frozen=True, slots=True)
class JobToPublish:
    """What a message is made of."""

    id: int
    handler: str
    queue: str
    traceparent: str = ""
    """Not in the message: the span of its publishing continues it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The row that a delivery has in the inbox, and its jobs that are to be published."""

    delivery_id: int
    is_duplicate: bool
    job_count: int
    to_publish: tuple[JobToPublish, ...]
