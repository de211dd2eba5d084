"""The breaker of a destination: after ten failures in a row it opens, and the destination's jobs wait.

While it is open, workers leave the jobs out by a pause of its own kind, at no cost and with no attempt spent. After
30 s one job is admitted, and tries. If it succeeds, the breaker closes; if it fails, the next try is later, up to ten
minutes. All of it is in the database, and each step is one conditional UPDATE: so any number of workers and relays
agree. Failures are those of the target itself: no connection, no answer in time, 5xx.
"""

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from webhooks.destination_handlers import handler_of
from webhooks.inbox import audit, due, pauses
from webhooks.models import Destination, Job, Pause
from webhooks.states import JobState

OPENS_AFTER = 10
FIRST_SECONDS = 30.0
LONGEST_SECONDS = 600.0
NOTED_SECONDS = 10.0
"""A success is noted again after so long: each would else be a write."""
WHO = "the breaker"
_CLOSED = {"failures": 0, "opened_at": None, "next_try_at": None, "tries": 0}

_HAS_FAILED = Q(failures__gt=0) | Q(opened_at__isnull=False)

logger = logging.getLogger(__name__)


def succeeded(name: str) -> None:
    """Note that a destination has taken a delivery; its breaker is closed."""
    noted = Now() - timedelta(seconds=NOTED_SECONDS)
    is_news = _HAS_FAILED | Q(succeeded_at=None) | Q(succeeded_at__lt=noted)
    with transaction.atomic():
        if Destination.objects.filter(is_news, name=name).update(succeeded_at=Now(), **_CLOSED):
            _end_pause(name)


def answered(name: str) -> None:
    """Note that a destination has answered, though it has not taken the delivery; its breaker is closed."""
    with transaction.atomic():
        if Destination.objects.filter(_HAS_FAILED, name=name).update(**_CLOSED):
            _end_pause(name)


def put_off(name: str, *, job_id: int, seconds: float) -> None:
    """If this job tried a destination whose breaker is open, let the next try be when the target has asked for."""
    with transaction.atomic():
        if _of(name).filter(admitted_job=job_id).update(admitted_job=None):
            Destination.objects.filter(name=name).update(next_try_at=Now() + timedelta(seconds=seconds))


def failed(name: str, *, job_id: int, why: str) -> None:
    """Count a failure of a destination, and open its breaker if there were many; if it was a try, the next is later."""
    row = Destination.objects.filter(name=name)
    with transaction.atomic():
        if not row.update(failures=F("failures") + 1, failed_at=Now(), failure=why[:500]):
            return
        destination = row.get()
        if destination.opened_at is None:
            if destination.failures >= OPENS_AFTER:
                _open(destination, why)
        elif _of(name).filter(admitted_job=job_id).update(admitted_job=None):
            seconds = seconds_until_try(destination.tries + 1)
            row.update(tries=F("tries") + 1, next_try_at=Now() + timedelta(seconds=seconds))


def close(name: str, *, who: str) -> bool:
    """Close a breaker at a person's word, and record it; tell whether it was open."""
    with transaction.atomic():
        if not Destination.objects.filter(name=name, opened_at__isnull=False).update(**_CLOSED):
            return False
        _end_pause(name)
        audit.record("close_breaker", who=who, scope=f"destination {name}")
    return True


def are_open() -> dict[str, bool]:
    """Return of each destination whether its breaker is open."""
    rows = Destination.objects.order_by("name").values_list("name", "opened_at")
    return {name: opened_at is not None for name, opened_at in rows}


def step() -> None:
    """Admit a job of each open breaker whose time has come and which has none. Any relay may do it."""
    opened = list(Destination.objects.filter(opened_at__isnull=False, next_try_at__lte=Now(), is_enabled=True))
    held = {pause.handler for pause in pauses.current()} if opened else ()
    for destination in opened:
        pause = _of(destination.name).first()
        if pause is None or _is_under_way(pause.admitted_job) or destination.handler in held:
            continue
        job_id = due.first_of(destination.handler, queue=destination.queue)
        if job_id is not None and Pause.objects.filter(
            pk=pause.pk, resumed_at=None, admitted_job=pause.admitted_job
        ).update(admitted_job=job_id):
            logger.info("breaker lets one job try", extra={"destination": destination.name, "job": job_id})


def seconds_until_try(tries: int) -> float:
    """Return how long to wait for the next try after so many have failed."""
    return float(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(tries, 10)))


def _open(destination: Destination, why: str) -> None:
    Destination.objects.filter(pk=destination.pk).update(
        opened_at=Now(), tries=0, next_try_at=Now() + timedelta(seconds=FIRST_SECONDS)
    )
    Pause.objects.get_or_create(
        queue="", handler=destination.handler, kind=Pause.Kind.BREAKER, resumed_at=None,
        defaults={"reason": f"{OPENS_AFTER} failures in a row; the last: {why}"[:500], "paused_by": WHO},
    )  # fmt: skip
    logger.warning("breaker opened", extra={"destination": destination.name, "failures": destination.failures})


def _end_pause(name: str) -> None:
    if _of(name).update(resumed_at=Now(), resumed_by=WHO):
        logger.info("breaker closed", extra={"destination": name})


def _of(name: str) -> QuerySet[Pause]:
    return Pause.objects.filter(queue="", handler=handler_of(name), kind=Pause.Kind.BREAKER, resumed_at=None)


def _is_under_way(job_id: int | None) -> bool:
    """Tell whether the job that was admitted last still waits for its turn, or runs."""
    under_way = Q(state=JobState.RUNNING) | due.CLAIMABLE
    return job_id is not None and Job.objects.filter(under_way, pk=job_id).exists()
