"""How both databases carry out what `manage.py encrypt_payloads` asks: by the primary key, batch by batch."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.inbox.test_replay_plans import statements, whole_reads
from tests.support.inbox_rows import make_delivery
from webhooks.encryption import new_key
from webhooks.inbox import payload_keys
from webhooks.inbox.kept_bodies import sealed
from webhooks.models import Delivery, Payload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ROWS = 4_000
CLEAR_EVERY = 40


@pytest.fixture
def _many(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Payloads of which most are encrypted already, and batches as small a part of them as of a large inbox."""
    settings.HOOKLINE_PAYLOAD_KEYS = [new_key()]
    monkeypatch.setattr(payload_keys, "ROWS_AT_ONCE", 20)
    first = make_delivery()
    copies = [Delivery(source_id=first.source_id, hook_id=n, guid=uuid.uuid4(), event="push", headers={}, body_bytes=2)
              for n in range(2, ROWS)]  # fmt: skip
    rows = Delivery.objects.bulk_create(copies, batch_size=500)
    encrypted = sealed(b"{}")
    Payload.objects.bulk_create(
        (Payload(delivery=row, body=encrypted if place % CLEAR_EVERY else b"{}") for place, row in enumerate(rows)),
        batch_size=500,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "postgresql":  # As for a database that fits into memory: these few rows always do.
            cursor.execute("SET random_page_cost = 1.1")
    yield
    connection.close()


@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("is_dry_run", [True, False], ids=["a dry run", "a pass"])
def test_encrypting_what_is_stored_never_reads_all_payloads_at_once(*, is_dry_run: bool) -> None:
    clear = 0

    def encrypt() -> None:
        nonlocal clear
        clear = sum(seen.clear for seen in payload_keys.encrypt(is_dry_run=is_dry_run))

    seen = statements(encrypt)
    # Other tests may have left payloads, which were in clear too.
    assert clear >= ROWS // CLEAR_EVERY
    one_of_each = {statement[:55]: statement for statement in seen}.values()
    asked = sorted(statement.split()[0] for statement in one_of_each)
    assert asked == ["SELECT"] * 3 + ([] if is_dry_run else ["UPDATE"])  # The last id; the heads; the bodies.
    for statement in one_of_each:
        assert not list(whole_reads(statement)), statement[:400]
        assert not _sorts(statement), statement[:400]


def _sorts(statement: str) -> bool:
    """Tell whether rows would be put in order after they were read, as where no index has them in order."""
    explain = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
    with connection.cursor() as cursor:
        cursor.execute(explain + statement.replace("%", "%%"), ())
        plan = str(cursor.fetchall())
    return "Sort" in plan or "TEMP B-TREE" in plan
