"""What people change of destinations: secrets encrypted and kept, the record of it, what becomes of waiting jobs."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from tests.inbox.test_engine import waiting
from tests.support.inbox_rows import make_job
from webhooks.encryption import EncryptionError, HiddenKeys, new_key
from webhooks.inbox.destinations import changing, known
from webhooks.inbox.destinations.changing import Secrets, stored_headers
from webhooks.models import Change, Destination, Job, Pause
from webhooks.publishing.health import RelayHealth
from webhooks.publishing.strays import Strays
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

NAME, HANDLER = "chat", "forward.chat"
VALUES: dict[str, Any] = {"events": ["push"], "url": "https://chat.example.com/services/T0KEN", "queue": "default"}
SECRETS = Secrets(headers={"Authorization": "Bearer abcdef", "X-Team": "blue"}, signing_secret="a-signing-secret")


@pytest.fixture(autouse=True)
def keys(settings: Any) -> Iterator[None]:
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys([new_key()])
    yield
    Destination.objects.all().delete()
    known.refresh()


def made(secrets: Secrets = SECRETS) -> Destination:
    return changing.create(NAME, VALUES, secrets, who="ana")


def in_tables() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM webhooks_destination")
        rows = list(cursor.fetchall())
        cursor.execute("SELECT * FROM webhooks_change")
        return repr([*rows, *cursor.fetchall()])


def test_secrets_are_encrypted_and_in_no_record() -> None:
    one = made()
    changing.change(one.pk, VALUES, Secrets(headers={"Authorization": "Bearer ghijkl"}), who="bob")
    for secret in ("abcdef", "ghijkl", "a-signing-secret"):
        assert secret not in in_tables()
        assert secret not in repr(SECRETS)
    assert stored_headers(Destination.objects.get()) == {"Authorization": "Bearer ghijkl"}
    records = list(Change.objects.order_by("pk").values_list("action", "who", "reason"))
    assert records[1] == ("change_destination", "bob", "headers replaced")
    assert "T0KEN" not in records[0][2]
    assert "https://chat.example.com" in records[0][2]


def test_what_is_not_named_of_the_secrets_stays() -> None:
    one = made()
    changing.change(one.pk, {"time_limit": 5.0}, Secrets(), who="ana")
    changing.change(one.pk, {}, Secrets(headers={"X-Team": None, "X-New": "1"}), who="ana")
    row = Destination.objects.get()
    assert stored_headers(row) == {"X-Team": "blue", "X-New": "1"}
    assert row.header_names == ["X-Team", "X-New"]
    assert row.signing_secret == one.signing_secret
    assert row.version == 3


def test_without_a_key_a_destination_with_a_secret_is_refused_and_one_without_is_made(settings: Any) -> None:
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys()
    with pytest.raises(EncryptionError, match="HOOKLINE_DESTINATION_KEYS holds no key"):
        made()
    assert made(Secrets()).pk


def test_a_name_is_taken_once() -> None:
    made()
    with pytest.raises(IntegrityError), transaction.atomic():
        made()


def test_a_new_destination_is_off_and_makes_no_jobs_until_it_is_switched_on() -> None:
    made()
    assert known.refresh()
    assert HANDLER not in names_for_push()
    changing.switch(NAME, on=True, who="ana")
    assert known.refresh()
    assert HANDLER in names_for_push()
    assert not known.refresh()
    assert not Pause.objects.filter(resumed_at=None).exists()
    changing.delete(NAME, who="ana")
    assert known.refresh()
    assert installed_subscriptions().get(HANDLER) is None


def names_for_push() -> list[str]:
    return [each.name for each in installed_subscriptions().matching("push", "", {})]


def test_a_relay_ends_the_waiting_jobs_of_a_deleted_destination_as_dead_and_leaves_the_others() -> None:
    made()
    changing.switch(NAME, on=True, who="ana")
    known.refresh()
    job, done = waiting(handler=HANDLER), make_job(JobState.SUCCEEDED, handler=HANDLER)
    strays = Strays(installed_subscriptions(), health=RelayHealth(threading.Event()))
    strays.step()
    assert Job.objects.get(pk=job.pk).state == JobState.QUEUED
    assert changing.delete(NAME, who="bob")
    assert not changing.delete(NAME, who="bob")
    known.refresh()
    Strays(installed_subscriptions(), health=RelayHealth(threading.Event())).step()
    assert Job.objects.values_list("state", "error").get(pk=job.pk) == (
        JobState.DEAD, "The destination chat was deleted.",
    )  # fmt: skip
    assert Job.objects.get(pk=done.pk).state == JobState.SUCCEEDED
    assert not Pause.objects.filter(resumed_at=None).exists()
    assert Change.objects.latest("pk").action == "delete_destination"


def test_each_destination_has_its_part_of_the_queue_and_its_jobs_the_order_that_it_declares() -> None:
    one, other = made(), changing.create("mirror", VALUES | {"one_at_a_time_by": "repository"}, Secrets(), who="ana")
    payload = {"repository": {"id": 7}}
    keys, others = (known.subscription_of(row).keys(source="github", payload=payload) for row in (one, other))
    assert keys.fair
    assert others.fair
    assert keys.fair != others.fair
    assert (keys.order, keys.latest) == (None, None)
    assert others.order == "forward.mirror:github:repository:7"
    known.refresh()
    assert VALUES["queue"] in installed_subscriptions().fair_queues
