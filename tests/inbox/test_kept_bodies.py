"""Payloads that are encrypted at rest: written, read by whoever needs them, and written again with another key."""

import logging
import os
import signal
import uuid
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from hypothesis import given
from hypothesis import strategies as st

from tests.inbox.test_replays import MAIN, subscription
from tests.support.claimed_jobs import run_now
from tests.support.inbox_rows import make_delivery, new_delivery
from tests.support.people import signed_in
from webhooks.encryption import new_key
from webhooks.github.payload import FORM, JSON, PayloadError, parse
from webhooks.inbox import kept_bodies, payload_keys, store
from webhooks.inbox.claimed_job import SMALL_BODY_BYTES
from webhooks.inbox.kept_bodies import UnreadableBodyError, opened, sealed
from webhooks.inbox.replays import scope
from webhooks.inbox.replays.scope import Scope
from webhooks.management.commands import encrypt_payloads as command
from webhooks.models import Attempt, Delivery, Job, Payload
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions import installed
from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import Subscriptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

KEYS = [new_key() for _ in range(3)]
WORD = b"a word that only the payload has"
SMALL = b'{"ref": "refs/heads/main", "note": "' + WORD + b'"}'
LARGE = b'{"ref": "refs/heads/main", "note": "' + WORD + b"x" * (SMALL_BODY_BYTES + 1) + b'"}'
seen: list[Event] = []
NOTE = subscription("shop.note", handler=seen.append)


@pytest.fixture(autouse=True)
def _encrypting(settings: Any) -> Iterator[None]:
    settings.HOOKLINE_ENCRYPT_PAYLOADS = True
    settings.HOOKLINE_PAYLOAD_KEYS = [KEYS[0]]
    yield
    seen.clear()


def stored(body: bytes, *subscriptions: Any) -> Delivery:
    new = new_delivery(body=body, subscriptions=subscriptions)
    return Delivery.objects.get(pk=store.store(new).delivery_id)


def row_of(delivery: Delivery) -> bytes:
    return bytes(Payload.objects.get(pk=delivery.pk).body)


def with_key(number: int, body: bytes = SMALL) -> Delivery:
    """Store a delivery as it was stored while another key was the first."""
    with override_settings(HOOKLINE_PAYLOAD_KEYS=[KEYS[number]]):
        return stored(body)


def in_clear(body: bytes = SMALL) -> Delivery:
    with override_settings(HOOKLINE_ENCRYPT_PAYLOADS=False):
        return stored(body)


def kinds() -> list[str]:
    """Return of each row, in the order of their ids, what it is encrypted with."""
    heads = {kept_bodies.MARK + b"\x01" + kept_bodies.key_id(key): f"key {place}" for place, key in enumerate(KEYS)}
    bodies = Payload.objects.order_by("pk").values_list("body", flat=True)
    return [heads.get(bytes(body)[: kept_bodies.HEAD_BYTES], "clear") for body in bodies]


# --- One body ---------------------------------------------------------------------------------------------------------


@given(rest=st.binary(max_size=200))
def test_nothing_that_the_receiver_accepts_begins_as_an_encrypted_body_does(rest: bytes) -> None:
    for content_type in (JSON, FORM):
        with pytest.raises(PayloadError):
            parse(kept_bodies.MARK[:1] + rest, content_type=content_type)
        with pytest.raises(PayloadError):
            parse(kept_bodies.MARK + b'payload={"a":1}', content_type=content_type)


@given(body=st.binary(max_size=5_000))
def test_a_body_comes_out_as_it_went_in(body: bytes) -> None:
    with override_settings(HOOKLINE_PAYLOAD_KEYS=[KEYS[1], KEYS[0]]):
        kept = sealed(body)
        assert opened(kept) == body
        assert opened(kept, longest=100) == body[:100]
    with override_settings(HOOKLINE_PAYLOAD_KEYS=[KEYS[0], KEYS[1]]):
        assert opened(kept) == body


def test_github_s_json_takes_less_room_encrypted_than_in_clear() -> None:
    assert len(sealed(LARGE)) < len(LARGE) / 10
    assert WORD not in sealed(SMALL)


def test_one_changed_bit_is_noticed() -> None:
    kept = bytearray(sealed(SMALL))
    kept[-1] ^= 1
    with pytest.raises(UnreadableBodyError):
        opened(bytes(kept))


@pytest.mark.parametrize("keys", [[], [KEYS[2]]], ids=["no keys", "another key"])
def test_what_cannot_be_read_is_said_with_the_variable_and_without_a_key(keys: list[str]) -> None:
    kept = sealed(SMALL)
    with override_settings(HOOKLINE_PAYLOAD_KEYS=keys), pytest.raises(UnreadableBodyError) as caught:
        opened(kept)
    assert "HOOKLINE_PAYLOAD_KEYS" in str(caught.value)
    assert not any(key in str(caught.value) for key in KEYS)


def test_a_later_release_s_body_is_said_to_be_one() -> None:
    with pytest.raises(UnreadableBodyError, match="later release"):
        opened(kept_bodies.MARK + b"\x02 whatever")


# --- Stored and read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_a_payload_is_encrypted_in_its_row_and_the_handler_sees_it_in_clear(body: bytes) -> None:
    delivery = stored(body, NOTE)
    assert (kinds(), delivery.body_bytes) == (["key 0"], len(body))
    assert WORD not in row_of(delivery)
    assert run_now(NOTE, Job.objects.get().pk) is JobState.SUCCEEDED
    assert [event.payload["ref"] for event in seen] == ["refs/heads/main"]


def test_where_it_is_off_the_raw_body_is_stored_and_read_beside_encrypted_ones() -> None:
    first = stored(SMALL, NOTE)
    with override_settings(HOOKLINE_ENCRYPT_PAYLOADS=False):
        second = stored(SMALL, NOTE)
        assert row_of(second) == SMALL
        for job in Job.objects.filter(delivery__in=[first, second]):
            assert run_now(NOTE, job.pk) is JobState.SUCCEEDED
    assert len(seen) == 2


def test_a_group_of_deliveries_is_encrypted_too() -> None:
    store.store_together([new_delivery(body=SMALL), new_delivery(body=LARGE)])
    store.store_together([new_delivery(body=SMALL, hook_id=2)])
    assert kinds() == ["key 0"] * len(kinds())


def test_a_pruned_payload_that_comes_again_is_encrypted() -> None:
    guid = uuid.uuid4()
    store.store(new_delivery(body=SMALL, guid=guid))
    Payload.objects.all().delete()
    store.store(new_delivery(body=SMALL, guid=guid))
    assert kinds() == ["key 0"]
    assert opened(row_of(Delivery.objects.get())) == SMALL


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_a_job_whose_payload_cannot_be_read_is_dead_after_one_attempt_and_says_why(body: bytes) -> None:
    stored(body, NOTE)
    with override_settings(HOOKLINE_PAYLOAD_KEYS=[KEYS[1]]):
        assert run_now(NOTE, Job.objects.get().pk) is JobState.DEAD
    job, attempt = Job.objects.get(), Attempt.objects.get()
    assert (job.attempt, attempt.outcome) == (1, AttemptOutcome.GAVE_UP)
    assert "HOOKLINE_PAYLOAD_KEYS" in job.error
    assert not any(key in attempt.traceback for key in KEYS)
    assert not seen


def test_a_replay_matches_by_what_is_in_an_encrypted_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([MAIN]))
    wanted = stored(SMALL)
    stored(b'{"ref": "refs/heads/other"}')
    found = list(scope.lacking_among(Scope(handler="shop.main", is_missing=True), all_ids()))
    assert [(one.delivery_id, one.has_payload) for one in found] == [(wanted.pk, True)]


def test_a_replay_leaves_what_it_cannot_read_and_counts_it_and_says_so_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([MAIN]))
    lost, wanted = with_key(2), stored(SMALL)
    with caplog.at_level(logging.ERROR):
        found = list(scope.lacking_among(Scope(handler="shop.main", is_missing=True), all_ids()))
    assert [(one.delivery_id, one.has_payload) for one in found] == [(lost.pk, False), (wanted.pk, True)]
    assert "HOOKLINE_PAYLOAD_KEYS" in caplog.text


def all_ids() -> list[int]:
    return sorted(Delivery.objects.values_list("pk", flat=True))


# --- On its page ------------------------------------------------------------------------------------------------------


@pytest.fixture
def operator() -> Client:
    return signed_in("operator")


@pytest.mark.parametrize("body", [SMALL, b'{"zen": "' + b"z" * 1_000_000 + b'END"}'], ids=["small", "large"])
def test_an_encrypted_payload_is_shown_and_downloaded_as_it_came(operator: Client, body: bytes) -> None:
    encrypted, clear = stored(body), in_clear(body)
    shown = [
        operator.get(f"/deliveries/{one.pk}/payload/", headers={"HX-Request": "true"}).content.decode()
        for one in (encrypted, clear)
    ]
    assert shown[0] == shown[1]
    assert operator.get(f"/deliveries/{encrypted.pk}/payload/raw/").content == body


def test_an_encrypted_payload_that_ends_beyond_what_is_shown_is_cut(operator: Client) -> None:
    """Though it is short as it is stored."""
    delivery = stored(LARGE)
    assert len(row_of(delivery)) < 2_000
    text = operator.get(f"/deliveries/{delivery.pk}/payload/").content.decode()
    assert "Its first 64 KB" in text


def test_the_page_says_that_a_payload_cannot_be_read(operator: Client) -> None:
    delivery = with_key(2)
    text = operator.get(f"/deliveries/{delivery.pk}/payload/").content.decode()
    assert "HOOKLINE_PAYLOAD_KEYS of this process holds no key for it" in text
    response = operator.get(f"/deliveries/{delivery.pk}/payload/raw/", follow=True)
    assert response.redirect_chain == [(f"/deliveries/{delivery.pk}/", 302)]
    assert "HOOKLINE_PAYLOAD_KEYS" in response.content.decode()


# --- Written again ----------------------------------------------------------------------------------------------------


def encrypt(*arguments: str) -> str:
    out = StringIO()
    call_command("encrypt_payloads", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def mixed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[Delivery]:
    """Rows in clear, with each of two keys, in several batches."""
    monkeypatch.setattr(payload_keys, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(payload_keys, "BYTES_AT_ONCE", 100)
    settings.HOOKLINE_PAYLOAD_KEYS = [KEYS[1], KEYS[0]]
    return [made for _ in range(2) for made in (in_clear(), with_key(0), with_key(1), in_clear())]


def test_every_payload_is_encrypted_with_the_first_key_and_says_the_same(mixed: list[Delivery], settings: Any) -> None:
    printed = encrypt()
    assert kinds() == ["key 1"] * 8
    settings.HOOKLINE_PAYLOAD_KEYS = [KEYS[1]]
    assert all(opened(row_of(delivery)) == SMALL for delivery in mixed)
    for line in ("in clear: 4", "another key: 2", "first key already: 2"):
        assert line in printed
    assert "first key already: 8" in encrypt()


def test_a_dry_run_counts_the_same_and_changes_nothing(mixed: list[Delivery]) -> None:
    before = [row_of(delivery) for delivery in mixed]
    printed = encrypt("--dry-run")
    assert [row_of(delivery) for delivery in mixed] == before
    for line in ("nothing is changed", "in clear: 4", "another key: 2", "first key already: 2"):
        assert line in printed


def test_a_row_that_is_current_is_not_written(mixed: list[Delivery]) -> None:
    current = [delivery for delivery, kind in zip(mixed, kinds(), strict=True) if kind == "key 1"]
    before = [row_of(delivery) for delivery in current]
    encrypt()
    assert [row_of(delivery) for delivery in current] == before


def test_what_no_key_opens_is_left_and_counted_and_the_command_fails(mixed: list[Delivery]) -> None:
    lost = with_key(2)
    before = row_of(lost)
    with pytest.raises(CommandError, match="1 left as they are: HOOKLINE_PAYLOAD_KEYS holds no key"):
        encrypt()
    assert kinds() == ["key 1"] * 8 + ["key 2"]
    assert row_of(lost) == before


def test_a_pass_that_is_stopped_is_continued_by_the_next(
    mixed: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*, is_dry_run: bool) -> Iterator[payload_keys.Seen]:
        for batch in payload_keys.encrypt(is_dry_run=is_dry_run):
            if batch.clear:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(command, "encrypt", stopped)
    assert "Stopped before the end" in encrypt()
    assert kinds() == ["key 1", "key 0", "key 1", "clear", "clear", "key 0", "key 1", "clear"]
    monkeypatch.undo()
    assert "another key: 2" in encrypt()
    assert set(kinds()) == {"key 1"}


def test_a_row_that_is_pruned_meanwhile_stays_away(mixed: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    def sealed_late(body: bytes) -> bytes:
        Payload.objects.filter(pk=mixed[0].pk).delete()
        return sealed(body)

    monkeypatch.setattr(payload_keys, "sealed", sealed_late)
    encrypt()
    assert kinds() == ["key 1"] * 7


def test_without_a_key_or_a_payload_there_is_nothing_to_do(settings: Any) -> None:
    assert "in clear: 0" in encrypt()
    settings.HOOKLINE_PAYLOAD_KEYS = []
    make_delivery()
    with pytest.raises(CommandError, match="HOOKLINE_PAYLOAD_KEYS holds no key"):
        encrypt()
