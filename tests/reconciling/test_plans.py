"""How both databases carry out what passes, the console and retention ask: by an index, however many rows there are."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.inbox.test_replay_plans import check, look_at_rows
from tests.support.github.log import Hook
from tests.support.github.reading import PUSH, read
from tests.support.inbox_rows import make_delivery
from tests.support.people import signed_in
from webhooks.inbox import hook_logs
from webhooks.models import Delivery, HookLog, LogPass, MissedDelivery, Recovery

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ROWS = 4_000
LARGE = ("webhooks_delivery", "webhooks_logpass", "webhooks_recovery")


@pytest.fixture
def known(hook: Hook) -> Iterator[Hook]:
    """A hook that was read thousands of times, which found something each time, and another one beside it."""
    now = timezone.now()
    logs = [
        HookLog.objects.create(source="github", hook=name, hook_id=number, complete_until=now - timedelta(hours=1))
        for name, number in (("app", hook.hook_id), ("orgs/acme/hooks/12", 12))
    ]
    first = make_delivery()
    rows = Delivery.objects.bulk_create(
        (
            Delivery(
                source_id=first.source_id, hook_id=number, guid=uuid.uuid4(), event="push", headers={}, body_bytes=2
            )
            for number in range(2, ROWS)
        ),
        batch_size=500,
    )
    passes = LogPass.objects.bulk_create(
        (LogPass(log=logs[n % 2], state="complete", finished_at=now, started_at=now) for n in range(ROWS)),
        batch_size=500,
    )
    said = {"duration_seconds": 1, "status": "", "status_code": 502, "is_redelivery": False, "delivered_at": now}
    Recovery.objects.bulk_create(
        (Recovery(delivery=row, log_pass=one, entry_id=1, **said) for row, one in zip(rows, passes, strict=False)),
        batch_size=500,
    )
    MissedDelivery.objects.bulk_create(
        MissedDelivery(
            log=logs[1], guid=uuid.uuid4(), entry_id=1, event="push", delivered_at=now, reason="gone", is_open=False
        )
        for _ in range(200)
    )
    look_at_rows()
    yield hook
    connection.close()


def test_a_pass_reads_no_large_table_as_a_whole(known: Hook) -> None:
    for _ in range(120):
        known.add("push", PUSH)
    known.add("push", PUSH, is_gone=True)
    check(read, large=LARGE, least=20)
    assert LogPass.objects.filter(recovered=120).count() == 1


@pytest.mark.parametrize("address", ["/recovery/", "/recovery/?log=", "/recovery/passes/", "/recovery/missed/"])
def test_a_page_reads_no_large_table_as_a_whole(known: Hook, address: str) -> None:
    client = signed_in("viewer")
    wanted = LogPass.objects.order_by("pk")[ROWS // 2].pk
    number = {"/recovery/?log=": str(HookLog.objects.order_by("pk")[0].pk), "/recovery/passes/": f"{wanted}/"}
    url = address + number.get(address, "")

    def open_it() -> None:
        assert client.get(url).status_code == 200

    check(open_it, large=LARGE, least=1)


def test_the_page_of_a_delivery_reads_no_large_table_as_a_whole(known: Hook) -> None:
    client = signed_in("viewer")
    wanted = Delivery.objects.order_by("pk")[ROWS // 2].pk
    check(lambda: client.get(f"/deliveries/{wanted}/"), large=LARGE, least=3)


def test_retention_and_gauges_read_no_large_table_as_a_whole(known: Hook) -> None:
    LogPass.objects.filter(pk__in=LogPass.objects.order_by("pk").values("pk")[:300]).update(
        started_at=timezone.now() - timedelta(days=31)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    limit = timezone.now() - timedelta(days=30)
    check(lambda: hook_logs.forget_old(limit), large=LARGE, least=4)
    assert LogPass.objects.count() == ROWS - 300
    assert Recovery.objects.filter(log_pass=None).count() == 300
    assert hook_logs.incomplete_seconds().keys() == {"github"}
