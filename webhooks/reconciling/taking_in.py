"""Takes a delivery from GitHub's log into the inbox, as the receiver would have, and notes that it was recovered.

The signature cannot be checked: GitHub signs the raw body, and the log has it parsed. What comes over the API is
GitHub's word all the same (decision 0016).
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.datastructures import CaseInsensitiveMapping

from webhooks.github import json_text
from webhooks.github.delivery_log import Entry, sent_by
from webhooks.github.payload import JSON, PayloadError
from webhooks.github_api.access import APP
from webhooks.inbox import encoded_secret
from webhooks.inbox.encoded_secret import alarm
from webhooks.inbox.new_delivery import NewDelivery, Stored
from webhooks.inbox.sent import Sent, delivery_of, fault_of
from webhooks.inbox.store import store_if_new
from webhooks.inbox.stored_log import log_stored
from webhooks.models import HookLog, LogPass, Recovery
from webhooks.subscriptions.installed import installed_subscriptions


class GoneError(Exception):
    """GitHub's log no longer has the payload."""


class UnreadableError(Exception):
    """What GitHub's log has is no delivery that the receiver would take."""


def recovered_delivery(log: HookLog, entry: Entry, detail: Any) -> NewDelivery:
    """Return the delivery that an entry's own page has. Raises GoneError or UnreadableError."""
    given, payload = sent_by(detail)
    if payload is None:
        raise GoneError
    if encoded_secret.HEADER.lower() in map(str.lower, given):
        alarm(log.source)
    headers, body = _headers(CaseInsensitiveMapping(given), entry, log), _body_of(payload)
    if not isinstance(payload, dict) or fault_of(headers) or len(body) > settings.HOOKLINE_MAX_BODY_MB * 1024 * 1024:
        raise UnreadableError
    sent = Sent(source=log.source, headers=headers, body=body, payload=payload)
    try:
        return delivery_of(sent, installed_subscriptions(), secret_fingerprint="")
    except PayloadError:
        raise UnreadableError from None


def _body_of(payload: Any) -> bytes:
    try:
        return json_text.dumps(payload)
    except ValueError:
        raise UnreadableError from None


def _headers(given: Mapping[str, str], entry: Entry, log: HookLog) -> Mapping[str, str]:
    """Return the headers as they were sent, and what names the delivery as the entry and the log have it."""
    known = str(log.hook_id or 0)
    own = {
        "X-GitHub-Delivery": str(entry.guid),
        "X-GitHub-Event": entry.event,
        # An App's hook may be made anew, with another number.
        "X-GitHub-Hook-ID": given.get("X-GitHub-Hook-ID", known) if log.hook == APP else known,
        "Content-Type": JSON,  # A hook that sends forms sent one; what is stored is the JSON in it.
    }
    others = {name: value for name, value in given.items() if name.lower() not in {each.lower() for each in own}}
    return CaseInsensitiveMapping(others | own)


@transaction.atomic
def take_in(new: NewDelivery, entry: Entry, log_pass: LogPass) -> Stored | None:
    """Store a delivery with its jobs, for which the relay publishes; None if it came by itself meanwhile."""
    stored = store_if_new(new)
    if stored is None:
        return None
    Recovery.objects.create(
        delivery_id=stored.delivery_id,
        log_pass=log_pass,
        entry_id=entry.id,
        delivered_at=entry.delivered_at,
        duration_seconds=entry.duration_seconds,
        status=entry.status,
        status_code=entry.status_code,
        throttled_at=entry.throttled_at,
        is_redelivery=entry.is_redelivery,
    )
    transaction.on_commit(lambda: log_stored([(new, stored)]))
    return stored
