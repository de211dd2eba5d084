"""Which jobs a replay holds: the filters, as values, and how their rows are found. Changes nothing.

Rows are read in the order of their ids, a slice of SLICE at a time, and each slice is then filtered by its ids. So no
statement reads more than a slice, however few rows of the inbox match; and what was read stays behind the reader. For
dead and skipped jobs an index holds only these.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform

from webhooks.github.payload import PayloadError, parse
from webhooks.inbox import missing
from webhooks.inbox.kept_bodies import UnreadableBodyError, opened
from webhooks.inbox.new_delivery import NO_KEYS
from webhooks.models import Delivery, Job, Payload
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.keys import JobKeys
from webhooks.subscriptions.matching import EVERY_EVENT
from webhooks.subscriptions.subscription import Subscription, Subscriptions

logger = logging.getLogger(__name__)

SLICE = 1_000
BODIES_AT_ONCE = 20
"""A body may have 25 MB."""
STATES = (JobState.DEAD, JobState.SKIPPED, JobState.SUCCEEDED)
"""The states of jobs that a replay can run again."""
CLOCK_MARGIN = timedelta(minutes=5)
"""Ids grow with the time of receipt, but for transactions that went on side by side."""

_EVENT_FILTERS = ("event", "action", "repository", "installation_id")


class ScopeError(ValueError):
    """The filters make no replay. The message is for the person who gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The filters of a replay. An empty value means any."""

    handler: str = ""
    is_missing: bool = False
    """Whether it makes the handler's jobs for deliveries that have none, instead of running jobs again."""
    state: str = JobState.DEAD
    event: str = ""
    action: str = ""
    repository: str = ""
    installation_id: int | None = None
    fingerprint: str = ""
    since: datetime | None = None
    """Deliveries received from this moment on."""
    until: datetime | None = None
    """Deliveries received before it."""

    def as_json(self) -> dict[str, Any]:
        """Return what is given, as JSON can hold it."""
        given = {name: value for name, value in asdict(self).items() if value not in ("", None, False)}
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Scope":
        values = {field.name: given[field.name] for field in fields(cls) if field.name in given}
        for name in ("since", "until"):
            if name in values:
                values[name] = datetime.fromisoformat(values[name])
        return cls(**values)

    @property
    def fields(self) -> list[tuple[str, Any]]:
        """Return the filters as fields of a form."""
        names = {"is_missing": "missing", "installation_id": "installation"}
        given = {names.get(name, name): value for name, value in self.as_json().items()}
        return [(name, "on" if value is True else value) for name, value in given.items()]

    @property
    def query(self) -> str:
        """Return the filters as the part of a URL after the question mark."""
        return urlencode(self.fields)

    @property
    def in_words(self) -> str:
        """Return "dead jobs of acme.greet, event push, received from 2026-11-26 14:00 UTC"."""
        what = f"missing jobs of {self.handler}" if self.is_missing else f"{self.state} jobs"
        if self.handler and not self.is_missing:
            what += f" of {self.handler}"
        named = {"event": self.event, "action": self.action, "repository": self.repository}
        named |= {"installation": str(self.installation_id or ""), "fingerprint": self.fingerprint}
        parts = [what, *(f"{name} {value}" for name, value in named.items() if value)]
        parts += [f"received from {_in_words(self.since)}"] if self.since else []
        parts += [f"received before {_in_words(self.until)}"] if self.until else []
        return ", ".join(parts)

    def check(self) -> None:
        """Raise ScopeError if these filters make no replay."""
        if self.state not in STATES:
            raise ScopeError(f"Only jobs that are {', '.join(STATES[:-1])} or {STATES[-1]} can be run again.")
        if self.since and self.until and self.since >= self.until:
            raise ScopeError("The time range ends before it begins.")
        if self.is_missing:
            self._check_missing()

    def _check_missing(self) -> None:
        if not self.handler:
            raise ScopeError("Missing jobs are those of one handler: name it.")
        if self.fingerprint:
            raise ScopeError("A job that is missing has no failure's fingerprint.")
        if installed_subscriptions().get(self.handler) is None:
            raise ScopeError(f"No installed app has a handler named {self.handler}.")


def _in_words(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Slice:
    """The next rows of a scope, filtered or not, up to and with the id `end`."""

    ids: Sequence[int]
    end: int
    is_last: bool


def first_id(scope: Scope) -> int:
    """Return an id before which no row is in the scope."""
    if scope.since is None:
        return 0
    since = scope.since - CLOCK_MARGIN
    # A job is never older than its delivery.
    rows: QuerySet[Any] = (
        Delivery.objects.filter(received_at__gte=since).order_by("received_at", "id")
        if scope.is_missing
        else Job.objects.filter(created_at__gte=since).order_by("created_at", "id")
    )
    found = rows.values_list("pk", flat=True).first()
    newest = newest_id(scope)
    return newest if found is None else max(0, min(found - 1, newest))


def newest_id(scope: Scope) -> int:
    """Return the id of the newest row that a scope can hold: of a delivery if jobs are missing, else of a job."""
    rows: QuerySet[Any] = Delivery.objects.all() if scope.is_missing else Job.objects.all()
    return rows.order_by("-pk").values_list("pk", flat=True).first() or 0


def next_slice(scope: Scope, *, after: int, last: int) -> Slice:
    """Read the ids of the next rows."""
    rows: QuerySet[Any] = Delivery.objects.all() if scope.is_missing else Job.objects.filter(state=scope.state)
    ids = list(rows.filter(pk__gt=after, pk__lte=last).order_by("pk").values_list("pk", flat=True)[:SLICE])
    is_last = len(ids) < SLICE
    return Slice(ids, last if is_last else ids[-1], is_last)


def jobs_among(scope: Scope, ids: Sequence[int], *, cut_at: datetime) -> QuerySet[Job]:
    """Return those of the jobs with these ids that are in the scope. What ended after `cut_at` is not."""
    own = {"handler": scope.handler, "fingerprint": scope.fingerprint}
    given = {name: value for name, value in own.items() if value}
    given |= {f"delivery__{name}": value for name, value in _delivery_filters(scope).items()}
    return Job.objects.filter(pk__in=ids, state=scope.state, finished_at__lte=cut_at, **given)


@dataclass(frozen=True, slots=True)
class Lacking:
    """A delivery that lacks a job, and whether it has the payload to run it on."""

    delivery_id: int
    once_key: str | None
    has_payload: bool
    keys: JobKeys = NO_KEYS


def lacking_among(scope: Scope, ids: Sequence[int]) -> Iterator[Lacking]:
    """Yield those of the deliveries with these ids that match the scope's handler and have no job of it.

    Without a payload nobody knows what it held: such a delivery counts as matching if its event does.
    """
    subscription = installed_subscriptions().get(scope.handler)
    if subscription is None or not ids:  # The handler may have been uninstalled since the replay began.
        return
    lacking = _lacking(scope, subscription, ids).order_by("pk")
    # By a join, since PostgreSQL might hash all payloads to answer a subquery for each row.
    found = lacking.values_list("pk", "source__name", "guid", "payload__delivery_id")
    rows = [(pk, source, guid, payload is not None) for pk, source, guid, payload in found]
    for start in range(0, len(rows), BODIES_AT_ONCE):
        some = rows[start : start + BODIES_AT_ONCE]
        payloads = {pk: source for pk, source, _, has_payload in some if has_payload}
        matching, unreadable = matching_payloads(subscription, payloads)
        for pk, source, guid, has_payload in some:
            is_readable = has_payload and pk not in unreadable
            if not is_readable or pk in matching:
                once_key = subscription.once_key(source=source, guid=guid)
                yield Lacking(pk, once_key, is_readable, matching.get(pk, NO_KEYS))


_HAS_PAYLOAD = Exists(Payload.objects.filter(pk=OuterRef("pk")))


def _lacking(scope: Scope, subscription: Subscription, ids: Sequence[int]) -> QuerySet[Delivery]:
    """Return the deliveries that lack the job, as far as columns tell."""
    given = Q(**_delivery_filters(scope))
    # All deliveries between two ids are a slice, and databases read them as a range of the primary key.
    in_slice = Q(pk__gte=ids[0], pk__lte=ids[-1])
    if EVERY_EVENT not in subscription.events:
        given &= Q(event__in=subscription.events)
    if subscription.actions is not None:
        given &= Q(action__in=subscription.actions)
    deliveries = Delivery.objects.filter(given)
    having = Job.objects.filter(handler=subscription.name, delivery=OuterRef("pk"))
    if not subscription.once_per_event:
        return deliveries.filter(in_slice, ~Exists(having))
    # One job for the event: another delivery may have it, or will get it since it comes before this one.
    same = {"source": OuterRef("source"), "guid": OuterRef("guid")}
    having = Job.objects.filter(
        handler=subscription.name, delivery__source=OuterRef("source"), delivery__guid=OuterRef("guid")
    )
    earlier = deliveries.filter(_HAS_PAYLOAD, pk__lt=OuterRef("pk"), **same)
    return deliveries.filter(in_slice, missing.has_all_twins(), ~Exists(having), ~Exists(earlier))


def matching_payloads(subscription: Subscription, sources: Mapping[int, str]) -> tuple[dict[int, JobKeys], set[int]]:
    """Return the deliveries whose payloads meet the conditions of a subscription whose events they are, each with the
    keys that its job has. The names of their sources are given.

    And those whose payloads cannot be read with the keys that this process has: they are left, as without a payload.
    """
    if not subscription.where and not subscription.has_keys:
        keys = installed_subscriptions().keys_of(subscription, source="", payload={})
        return dict.fromkeys(sources, keys), set()
    found: dict[int, JobKeys] = {}
    unreadable: set[int] = set()
    columns = ("pk", "event", "action", KeyTextTransform("Content-Type", "headers"), "payload__body")
    for pk, event, action, content_type, body in Delivery.objects.filter(pk__in=sources).values_list(*columns):
        try:
            payload = parse(opened(bytes(body)), content_type=content_type or "")
        except UnreadableBodyError:
            unreadable.add(pk)
            continue
        except PayloadError:  # The receiver has read it, so its rules have changed since.
            continue
        if Subscriptions([subscription]).matching(event, action, payload):  # An error there is logged.
            found[pk] = installed_subscriptions().keys_of(subscription, source=sources[pk], payload=payload)
    if unreadable:
        logger.error("payloads not readable with HOOKLINE_PAYLOAD_KEYS", extra={"payloads": len(unreadable)})
    return found, unreadable


def _delivery_filters(scope: Scope) -> dict[str, Any]:
    """Return the conditions on columns of the delivery."""
    given = {name: getattr(scope, name) for name in _EVENT_FILTERS if getattr(scope, name) not in ("", None)}
    given |= {"received_at__gte": scope.since} if scope.since else {}
    given |= {"received_at__lt": scope.until} if scope.until else {}
    return given
