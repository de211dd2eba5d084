"""Takes a pulled delivery into this inbox, as the receiver would have, and notes where it comes from.

The signature is not checked: the other installation has checked it, and TLS and the token stand for its word. Its
webhook secret does not leave it.
"""

from django.db import transaction
from django.utils.datastructures import CaseInsensitiveMapping

from webhooks.github.payload import PayloadError, parse
from webhooks.inbox import operations, store
from webhooks.inbox.new_delivery import NewDelivery, Stored
from webhooks.inbox.sent import Sent, delivery_of, fault_of
from webhooks.inbox.stored_log import log_stored
from webhooks.models import Delivery, Job, Pull
from webhooks.pulling.remote import Handed
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.traces.context import HEADER


class UnreadableError(Exception):
    """What was pulled is no delivery that a receiver would take. The message says why."""


def pulled_delivery(handed: Handed, body: bytes, *, source: str) -> NewDelivery:
    """Return the delivery as a source here would have received it. Raises UnreadableError."""
    # Not the trace: what runs here is no part of what ran there.
    kept = {name: value for name, value in handed.headers.items() if name.lower() != HEADER}
    named = {
        "X-GitHub-Event": handed.event,
        "X-GitHub-Delivery": str(handed.guid),
        "X-GitHub-Hook-ID": str(handed.hook_id),
    }
    missing = {name: value for name, value in named.items() if name not in CaseInsensitiveMapping(kept)}
    headers = CaseInsensitiveMapping(kept | missing)
    if fault := fault_of(headers):
        raise UnreadableError(fault)
    try:
        payload = parse(body, content_type=headers.get("Content-Type", ""))
    except PayloadError as error:
        raise UnreadableError(str(error)) from None
    sent = Sent(source=source, headers=headers, body=body, payload=payload)
    return delivery_of(sent, installed_subscriptions(), secret_fingerprint="")


def stored_as(new: NewDelivery) -> int | None:
    """Return the delivery here that this is, or None."""
    same = Delivery.objects.filter(source__name=new.source, hook_id=new.hook_id, guid=new.guid)
    return same.values_list("pk", flat=True).first()


@transaction.atomic
def take_in(new: NewDelivery, handed: Handed, *, host: str, who: str) -> Stored | None:
    """Store a delivery with its jobs; None if it is stored already."""
    stored = store.store_if_new(new)
    if stored is None:
        return None
    Pull.objects.create(
        delivery_id=stored.delivery_id,
        host=host[:255],
        source=handed.source[:50],
        received_at=handed.received_at,
        who=who[:150],
    )
    transaction.on_commit(lambda: log_stored([(new, stored)]))
    return stored


def queue_again(new: NewDelivery, *, who: str) -> int:
    """Queue all jobs of a delivery that is stored already, and make those it lacks; return its number."""
    stored = store.store(new)
    asked = operations.Asked(who=who, scope=f"delivery {stored.delivery_id}", reason="pulled again")
    ended = Job.objects.filter(delivery_id=stored.delivery_id)
    operations.carry_out(operations.RUN_AGAIN, ended, asked=asked)
    return stored.delivery_id
