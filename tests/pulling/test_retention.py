"""The mark of a pulled delivery goes with the delivery, and stays while the delivery does."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.support.inbox_rows import make_delivery
from webhooks.inbox.retention import current_limits, prune_deliveries
from webhooks.models import Delivery, Pull

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_the_mark_goes_with_its_delivery() -> None:
    now = timezone.now()
    old, new = make_delivery(received_at=now - timedelta(days=200)), make_delivery()
    for each in (old, new):
        Pull.objects.create(delivery=each, host="hooks.example.com", source="github", received_at=now, who="ana")
    limits = current_limits()
    assert limits is not None
    list(prune_deliveries(limits))
    assert Delivery.objects.get() == new
    assert Pull.objects.get().delivery_id == new.pk
