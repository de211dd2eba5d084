"""Keeps how far a log has been read, by whom, and what was found. Statements only; `walk.py` decides.

One process at a time reads a log: it holds the log's row by a lease, on every database alike. One that was killed
leaves a pass that runs; whoever reads the log next goes on with it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from webhooks.github.delivery_log import Entry
from webhooks.github_api.access import HookAccess
from webhooks.models import Delivery, HookLog, LogPass, MissedDelivery, Recovery
from webhooks.reconciling.errors import StoppedError

LEASE_SECONDS = 150
"""Longer than a call and the wait before it, so that a process that lives never loses it."""
MOST_RETRIED = 500
"""So many missed deliveries one pass tries again."""


@dataclass(frozen=True, slots=True)
class Held:
    """A log that this process alone reads."""

    log: HookLog
    holder: str

    def renew(self) -> None:
        """Hold it for longer. Raises StoppedError if another process has taken it over."""
        if not self._own().update(lease_until=Now() + timedelta(seconds=LEASE_SECONDS)):
            raise StoppedError

    def release(self) -> None:
        self._own().update(lease_until=None, holder="")

    def learn(self, hook_id: int) -> None:
        """Note the hook's number, so that what is stored is recognised by it."""
        if self.log.hook_id != hook_id:
            self.log.hook_id = hook_id
            HookLog.objects.filter(pk=self.log.pk).update(hook_id=hook_id)

    def _own(self) -> QuerySet[HookLog]:
        return HookLog.objects.filter(pk=self.log.pk, holder=self.holder)


def log_of(access: HookAccess) -> HookLog:
    known = {"hook_id": access.known_hook_id}
    return HookLog.objects.get_or_create(source=access.source, hook=access.hook, defaults=known)[0]


def hold(log: HookLog) -> Held | None:
    """Hold a log, or return None if another process does."""
    held = Held(log, uuid4().hex)
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    lease = {"holder": held.holder, "lease_until": Now() + timedelta(seconds=LEASE_SECONDS)}
    if not HookLog.objects.filter(free, pk=log.pk).update(**lease):
        return None
    log.refresh_from_db()
    return held


def unfinished(log: HookLog, mode: str) -> LogPass | None:
    """Return the pass of this log that was killed, or stopped before its end."""
    return LogPass.objects.filter(log=log, mode=mode, finished_at=None).order_by("pk").last()


def stored_among(guids: Collection[UUID], *, source: str, hook_id: int | None) -> set[UUID]:
    """Return which of these events the inbox has from this hook. Read by the index on GUIDs, however many there are."""
    same = Delivery.objects.filter(guid__in=set(guids))
    rows = same.values_list("source__name", "hook_id", "guid")
    return {guid for name, number, guid in rows if (name, number) == (source, hook_id)}


def miss(log: HookLog, entry: Entry, reason: MissedDelivery.Reason) -> None:
    """Note a delivery that could not be taken in. It is tried again only if GitHub did not answer."""
    values = {
        "entry_id": entry.id,
        "event": entry.event,
        "action": entry.action,
        "delivered_at": entry.delivered_at,
        "reason": reason,
        "is_open": reason == MissedDelivery.Reason.UNFETCHED,
        "found_at": Now(),
    }
    MissedDelivery.objects.update_or_create(log=log, guid=entry.guid, defaults=values)


def give_up(missed: MissedDelivery) -> None:
    """Note that a delivery which was to be tried again is gone: this pass has found that."""
    given_up = {"reason": MissedDelivery.Reason.GONE, "is_open": False, "found_at": Now()}
    MissedDelivery.objects.filter(pk=missed.pk).update(**given_up)


def forget_miss(log: HookLog, guid: UUID) -> None:
    MissedDelivery.objects.filter(log=log, guid=guid).delete()


def open_misses(log: HookLog) -> list[MissedDelivery]:
    """Return the missed deliveries to try again. Those that came by themselves meanwhile are forgotten."""
    newest = list(MissedDelivery.objects.filter(log=log).order_by("-pk")[:MOST_RETRIED])
    stored = stored_among([one.guid for one in newest], source=log.source, hook_id=log.hook_id)
    for guid in stored:
        forget_miss(log, guid)
    return [one for one in newest if one.is_open and one.guid not in stored]


def begin(log: HookLog, mode: str, *, since: datetime | None) -> LogPass:
    """Return a pass that is not saved yet: to what was looked at before, or to a moment that a person named."""
    return LogPass(log=log, mode=mode, since=since or log.complete_until, is_asked_since=since is not None)


def save(held: Held, going: LogPass) -> None:
    """Save how far a pass is."""
    held.renew()
    going.recovered = Recovery.objects.filter(log_pass=going).count()
    going.save()


def finish(held: Held, done: LogPass, *, state: str, reason: str) -> None:
    """End a pass, and note up to when the log has been looked at."""
    done.state, done.reason = state, reason[:500]
    save(held, done)
    if state == LogPass.State.STOPPED:
        return
    LogPass.objects.filter(pk=done.pk).update(finished_at=Now())
    if not done.is_asked_since or _reaches_mark(done, held.log):
        ended = {"completed_at": Now()} if state == LogPass.State.COMPLETE else {}
        HookLog.objects.filter(pk=held.log.pk).update(complete_until=done.until, **ended)
        held.log.refresh_from_db()


def _reaches_mark(done: LogPass, log: HookLog) -> bool:
    """Tell whether a pass back to a moment that a person named has seen all since the last complete one."""
    return done.since is not None and log.complete_until is not None and done.since <= log.complete_until


def given_up(going: LogPass, entries: Collection[Entry]) -> set[int]:
    """Return which of these entries an earlier pass could not take in, for good; none if a person said since when."""
    if going.is_asked_since or not entries:
        return set()
    before = MissedDelivery.objects.filter(log=going.log, guid__in={entry.guid for entry in entries}, is_open=False)
    return set(before.exclude(found_at__gte=going.started_at).values_list("entry_id", flat=True))


def count_misses(going: LogPass) -> None:
    """Count what this pass found and cannot recover, and what the next one tries again."""
    missed = MissedDelivery.objects.filter(log=going.log)
    going.lost = missed.filter(is_open=False, found_at__gte=going.started_at).count()
    going.unfetched = missed.filter(is_open=True).count()
