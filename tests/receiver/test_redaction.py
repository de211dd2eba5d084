"""What is redacted of a delivery never reaches a row, a handler or a log; and everything else is as before."""

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection

from tests.inbox.test_replays import subscription
from tests.receiver.test_receiver import NEW, post, told
from tests.support.claimed_jobs import run_now
from tests.support.people import signed_in
from tests.support.receiving import fresh_receiver
from tests.support.stack import running_stack
from webhooks.encryption import new_key
from webhooks.github.payload import FORM
from webhooks.inbox.kept_bodies import is_sealed, opened
from webhooks.models import Delivery, Job, Payload
from webhooks.subscriptions import installed
from webhooks.subscriptions.subscription import Subscriptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

PERSONAL = ("octo-the-person", "octo@example.com", "a@example.com")
PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "sender": {"login": PERSONAL[0], "email": PERSONAL[1]},
    "repository": {"full_name": "acme/widgets"},
    "installation": {"id": 5},
    "commits": [{"author": {"email": PERSONAL[2]}}, {"author": {"email": None}}],
}
BODY = json.dumps(PUSH).encode()
PATHS = ["$.sender.login", "$..email", "$.nothing"]


@pytest.fixture(autouse=True)
def receiver(settings: Any) -> Iterator[None]:
    settings.HOOKLINE_SECRETS = {"github": [NEW]}
    settings.HOOKLINE_REDACT = PATHS
    with fresh_receiver():
        yield


def body() -> Any:
    return json.loads(bytes(Payload.objects.get().body))


def everything_stored() -> str:
    tables = ("webhooks_delivery", "webhooks_payload", "webhooks_job", "webhooks_source")
    found = ""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")
            found += repr([[bytes(v) if isinstance(v, memoryview) else v for v in row] for row in cursor.fetchall()])
    return found


def test_what_the_paths_name_is_in_no_row_and_in_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    assert post(BODY, event="push").status_code == 202
    delivery = Delivery.objects.get()
    assert (delivery.sender, delivery.repository, delivery.installation_id) == ("[redacted]", "acme/widgets", 5)
    assert body()["commits"] == [{"author": {"email": "[redacted]"}}] * 2
    assert body()["ref"] == PUSH["ref"]
    assert delivery.redacted == {"$.sender.login": 1, "$..email": 3}
    assert delivery.body_bytes == len(bytes(Payload.objects.get().body))
    for value in PERSONAL:
        assert value not in everything_stored() + caplog.text


def test_a_body_without_anything_to_redact_is_kept_byte_for_byte() -> None:
    untouched = b'{ "zen" :  "Keep it" }'
    assert post(untouched).status_code == 202
    assert bytes(Payload.objects.get().body) == untouched
    assert Delivery.objects.get().redacted is None


def test_of_a_form_the_json_in_it_is_stored() -> None:
    form = urlencode({"payload": BODY.decode()}).encode()
    assert post(form, event="push", Content_Type=FORM).status_code == 202
    assert Delivery.objects.get().headers["Content-Type"] == "application/json"
    assert body()["sender"] == {"login": "[redacted]", "email": "[redacted]"}


def test_subscriptions_match_what_came_and_handlers_see_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    mine = subscription("shop.mine", handler=seen.append, where={"sender.login": PERSONAL[0]})
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([mine]))
    assert told(post(BODY, event="push"))["jobs"] == 1
    run_now(mine, Job.objects.get().pk)
    (event,) = seen
    assert (event.sender, event.payload["sender"]["login"]) == ("[redacted]", "[redacted]")


def test_a_redelivery_is_recognised_and_restores_a_pruned_payload_redacted() -> None:
    guid = str(uuid.uuid4())
    assert [post(BODY, event="push", guid=guid).status_code for _ in range(2)] == [202, 200]
    Payload.objects.all().delete()
    assert post(BODY, event="push", guid=guid).status_code == 200
    assert body()["sender"]["login"] == "[redacted]"


@pytest.mark.parametrize("path", ["$..[?@.email]", "$..email"])
def test_a_payload_that_cannot_be_redacted_is_refused_and_not_stored(settings: Any, path: str) -> None:
    settings.HOOKLINE_REDACT = [path]
    deep = b'{"email": 1, "a": ' + b'{"a": ' * 1_020 + b'{"email": "x"}' + b"}" * 1_021
    assert post(deep).status_code == 400
    assert not Delivery.objects.exists()


def test_it_is_encrypted_after_it_was_redacted(settings: Any) -> None:
    settings.HOOKLINE_ENCRYPT_PAYLOADS, settings.HOOKLINE_PAYLOAD_KEYS = True, [new_key()]
    assert post(BODY, event="push").status_code == 202
    stored = bytes(Payload.objects.get().body)
    assert is_sealed(stored)
    assert json.loads(opened(stored))["sender"]["login"] == "[redacted]"


def test_the_delivery_s_page_names_the_paths_that_hit_and_no_value() -> None:
    post(BODY, event="push")
    delivery = Delivery.objects.get()
    text = signed_in("operator").get(f"/deliveries/{delivery.pk}/").content.decode()
    assert "<code>$..email</code> (3 values)" in text
    assert "$.nothing" not in text
    assert not any(value in text for value in PERSONAL)


@pytest.mark.django_db(transaction=True)
def test_a_real_receiver_and_worker_keep_nothing_in_clear(tmp_path: Any) -> None:
    """Encrypted and redacted, through real processes: the handler runs, and no file holds a value."""
    on = {"HOOKLINE_ENCRYPT_PAYLOADS": "on", "HOOKLINE_PAYLOAD_KEYS": new_key(), "HOOKLINE_REDACT": "$..email"}
    with running_stack(tmp_path, database="sqlite", broker="filesystem", **on) as stack:
        stack.start_all(concurrency=1)
        status, _ = stack.send("work", email=PERSONAL[1], note="a-word-of-the-payload")
        assert status == 202
        stack.wait_until_drained()
        assert stack.states() == {"succeeded": 1}
        ((redacted, kept),) = stack.rows(
            "SELECT redacted, body FROM webhooks_delivery JOIN webhooks_payload ON delivery_id = webhooks_delivery.id"
        )
        assert json.loads(redacted) == {"$..email": 1}
        assert kept.startswith(b"\xffHK")
        for word in (PERSONAL[1], "a-word-of-the-payload"):
            for file in tmp_path.rglob("*"):
                assert not file.is_file() or word.encode() not in file.read_bytes(), file
