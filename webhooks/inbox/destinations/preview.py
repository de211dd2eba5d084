"""Which of the newest stored deliveries a destination's filter matches. It reads a bounded number of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from webhooks.inbox.destinations.known import subscription_of
from webhooks.inbox.replays.scope import matching_payloads
from webhooks.models import Delivery, Destination, Payload
from webhooks.subscriptions.matching import event_matches

MOST_DELIVERIES = 100
MOST_BYTES = 32 * 1024 * 1024
BODIES_AT_ONCE = 10


@dataclass(slots=True, kw_only=True)
class Preview:
    """What a look at the newest deliveries found."""

    looked_at: int = 0
    matching: list[Delivery] = field(default_factory=list)
    """The newest first, without headers and payload."""
    unknown: int = 0
    """Of the right event, but the payload is pruned, or this process has no key for it: nobody can tell."""
    is_cut: bool = False
    """Whether it ended early, since the payloads were too large to read more of them."""


def preview(destination: Destination) -> Preview:
    """Find the newest deliveries that match, whether the destination is stored and switched on or not."""
    subscription = replace(subscription_of(destination), takes_events=True)
    found, read_bytes = Preview(), 0
    newest = list(Delivery.objects.defer("headers").order_by("-received_at", "-id")[:MOST_DELIVERIES])
    for start in range(0, len(newest), BODIES_AT_ONCE):
        some = newest[start : start + BODIES_AT_ONCE]
        of_event = {
            one.pk: one
            for one in some
            if event_matches(one.event, one.action, events=subscription.events, actions=subscription.actions)
        }
        read_bytes += _bytes_of(of_event) if subscription.where else 0
        if read_bytes > MOST_BYTES:
            found.is_cut = True
            break
        stored = Payload.objects.filter(pk__in=of_event).values_list("pk", "delivery__source__name")
        sources = dict(stored) if of_event else {}
        matching, unreadable = matching_payloads(subscription, sources)
        found.looked_at += len(some)
        found.unknown += len(of_event) - len(sources) + len(unreadable)
        found.matching += [one for pk, one in of_event.items() if pk in matching]
    return found


def _bytes_of(deliveries: Mapping[int, Delivery]) -> int:
    return sum(one.body_bytes for one in deliveries.values())
