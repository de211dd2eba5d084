"""Which jobs fit a search, and in what order, in time that ten million rows do not change.

Each state has a partial index on the moment that matters in it, and the list of this state has that order. A filter
without an index looks only at the first jobs of the list; the page then says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from django.db.models import Exists, OuterRef, Q, QuerySet

from webhooks.console.keyset import Order
from webhooks.console.narrowing import Narrowed, among_the_first, repository_fits
from webhooks.console.search import Search
from webhooks.models import Delivery, Job
from webhooks.states import JobState

_NEWEST = Order("created_at")
_LAST_ENDED = Order("finished_at")
_ORDERS: Mapping[str, Order] = {
    JobState.QUEUED: Order("created_at", is_newest_first=False),
    JobState.RUNNING: Order("lease_until", is_newest_first=False),
    JobState.RETRYING: Order("due_at", is_newest_first=False),
    JobState.DEAD: _LAST_ENDED,
    JobState.SKIPPED: _LAST_ENDED,
}
"""Each state's order is that of its partial index: the longest waiting first, or the last ended first."""
_OF_JOB = ("handler", "queue", "fingerprint")
_OF_DELIVERY = ("event", "action", "sender")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The jobs that fit, not read yet, and the list's order."""

    narrowed: Narrowed
    order: Order
    may_act_on_all: bool
    """Whether the search is narrow enough for "all that match": without a state it would reach every job there was."""

    @property
    def jobs(self) -> QuerySet[Job]:
        return self.narrowed.rows


def jobs(wanted: Search) -> Found:
    """Return the jobs that a search finds. `since` and `until` are about their end in a list of ended jobs."""
    is_narrow = bool(wanted.state) or wanted.number is not None or wanted.guid is not None
    if wanted.number is not None or wanted.guid is not None:
        few = Narrowed(_few(wanted).filter(*_conditions(wanted)))
        return Found(narrowed=few, order=_NEWEST, may_act_on_all=is_narrow)
    order = _ORDERS.get(wanted.state, _NEWEST)
    rows = Job.objects.all()
    if wanted.state in _ORDERS:
        rows, wanted = rows.filter(state=wanted.state), replace(wanted, state="")
    if order in (_NEWEST, _LAST_ENDED):
        rows = rows.filter(*_times(wanted, order.column))
        wanted = replace(wanted, since=None, until=None)
    conditions = list(_conditions(wanted))
    narrowed = among_the_first(rows, order, *conditions) if conditions else Narrowed(rows)
    return Found(narrowed=narrowed, order=order, may_act_on_all=is_narrow)


def _times(wanted: Search, column: str) -> Iterator[Q]:
    if wanted.since:
        yield Q((f"{column}__gte", wanted.since))
    if wanted.until:
        yield Q((f"{column}__lt", wanted.until))


def _few(wanted: Search) -> QuerySet[Job]:
    """Return the few jobs of a number or of a GUID's deliveries."""
    if wanted.number is not None:
        return Job.objects.filter(pk=wanted.number)
    # The deliveries are looked up first: then one index lookup finds the jobs, in an UPDATE too.
    return Job.objects.filter(delivery_id__in=list(_deliveries_of(wanted)))


def _deliveries_of(wanted: Search) -> QuerySet[Delivery, int]:
    assert wanted.guid is not None
    return Delivery.objects.filter(guid=wanted.guid).values_list("pk", flat=True)


def _conditions(wanted: Search) -> Iterator[Q | Exists]:
    """Yield the conditions that no index serves."""
    if wanted.number is not None and wanted.guid is not None:
        yield Q(delivery_id__in=list(_deliveries_of(wanted)))
    if of_job := {name: value for name in ("state", *_OF_JOB) if (value := getattr(wanted, name))}:
        yield Q(**of_job)
    if wanted.error:
        yield Q(error__icontains=wanted.error)
    yield from _times(wanted, "created_at")
    if (of_delivery := _of_delivery(wanted)) is not None:
        yield Exists(Delivery.objects.filter(of_delivery, pk=OuterRef("delivery_id")))


def _of_delivery(wanted: Search) -> Q | None:
    conditions = Q(**{name: value for name in _OF_DELIVERY if (value := getattr(wanted, name))})
    if wanted.installation is not None:
        conditions &= Q(installation_id=wanted.installation)
    if wanted.mark:
        conditions &= Q(recovery__isnull=False)
    if wanted.repository:
        conditions &= repository_fits(wanted, "repository")
    return conditions or None
