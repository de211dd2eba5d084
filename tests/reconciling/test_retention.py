"""What is removed with a recovered delivery, and what of passes is kept no longer than deliveries."""

import uuid
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox.retention import current_limits, prune
from webhooks.models import Delivery, HookLog, LogPass, MissedDelivery, Recovery

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

LONG_AGO = timezone.now() - timedelta(days=40)


def recovered(log_pass: LogPass, *, at: datetime) -> Delivery:
    delivery = make_delivery(received_at=at)
    make_job(delivery=delivery, created_at=at, finished_at=at)
    said = {"entry_id": 1, "delivered_at": at, "duration_seconds": 1, "status": "", "status_code": 502}
    Recovery.objects.create(delivery=delivery, log_pass=log_pass, is_redelivery=False, **said)
    return delivery


def test_an_old_delivery_goes_with_its_recovery_and_old_passes_with_what_they_missed() -> None:
    log = HookLog.objects.create(source="github", hook="app")
    old = LogPass.objects.create(log=log, state="complete", started_at=LONG_AGO, finished_at=LONG_AGO)
    new = LogPass.objects.create(log=log, state="complete", finished_at=timezone.now())
    endless = LogPass.objects.create(log=log, state="stopped", started_at=LONG_AGO)
    for found_at in (LONG_AGO, timezone.now()):
        MissedDelivery.objects.create(
            log=log, guid=uuid.uuid4(), entry_id=1, event="push", delivered_at=found_at, found_at=found_at,
            reason="gone", is_open=False,
        )  # fmt: skip
    recovered(old, at=LONG_AGO)
    kept = recovered(old, at=timezone.now())
    limits = current_limits()
    assert limits is not None
    assert list(prune(limits, is_dry_run=True))
    assert (Recovery.objects.count(), LogPass.objects.count()) == (2, 3), "A dry run removes nothing."
    for _ in prune(limits):
        pass
    assert list(Delivery.objects.all()) == [kept]
    assert Recovery.objects.get().delivery_id == kept.pk
    assert Recovery.objects.get().log_pass is None
    assert set(LogPass.objects.all()) == {new, endless}, "One that has not ended is gone on with."
    assert MissedDelivery.objects.count() == 1
    assert HookLog.objects.count() == 1
