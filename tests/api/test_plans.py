"""How both databases carry out what the API and a delivery's page ask: by an index, however many rows there are."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.inbox.test_replay_plans import check, look_at_rows
from tests.support.inbox_rows import make_delivery, page
from tests.support.people import signed_in
from tests.support.tokens import asked, token_of
from webhooks.models import Delivery, Payload, Pull

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ROWS = 4_000
LARGE = ("webhooks_delivery", "webhooks_payload", "webhooks_pull")


@pytest.fixture
def filled() -> Iterator[Delivery]:
    """An inbox of many repositories; a pull request's delivery in one of them, with many others of the repository."""
    now = timezone.now()
    body = json.dumps({"pull_request": {"number": 7}}).encode()
    wanted = make_delivery(body, event="pull_request")
    made = Delivery.objects.bulk_create(
        (
            Delivery(
                source_id=wanted.source_id,
                hook_id=1,
                guid=uuid.uuid4(),
                event="push",
                repository=f"acme/r{n % 40}" if n % 8 else "acme/widgets",
                headers={},
                body_bytes=2,
                received_at=now - timedelta(seconds=n),
            )
            for n in range(ROWS)
        ),
        batch_size=500,
    )
    Payload.objects.bulk_create((Payload(delivery=one, body=b"{}") for one in made), batch_size=500)
    Pull.objects.bulk_create(
        (Pull(delivery=one, host="a", source="github", received_at=now, who="ana") for one in made), batch_size=500
    )
    look_at_rows()
    yield wanted
    connection.close()


def test_a_guid_and_a_pull_request_are_found_by_an_index(filled: Delivery) -> None:
    token = token_of("operator")
    check(lambda: asked(f"/api/deliveries/{filled.guid}", token), large=LARGE, least=2)
    check(lambda: asked("/api/pull-requests/acme/widgets/7", token), large=LARGE, least=2)
    place = f"{int(timezone.now().timestamp()) * 1_000_000 - 10**9}.5"
    check(lambda: asked(f"/api/pull-requests/acme/widgets/7?after={place}", token), large=LARGE, least=2)


def test_a_delivery_page_reads_no_large_table_as_a_whole(filled: Delivery) -> None:
    client = signed_in("operator")
    check(lambda: page(client, f"/deliveries/{filled.pk}/"), large=LARGE, least=3)
