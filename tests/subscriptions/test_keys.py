"""By which values jobs are shared out, kept in order and superseded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.subscriptions.test_subscriptions import only
from webhooks.inbox.sent import Sent, delivery_of
from webhooks.models import Job
from webhooks.subscriptions.checks import faults_of
from webhooks.subscriptions.event import Event
from webhooks.subscriptions.keys import fair_key, handler_key, is_key
from webhooks.subscriptions.subscription import Subscription, Subscriptions, on

REPOSITORY = {"id": 7, "full_name": "acme/widgets"}
PULL_REQUEST = {"pull_requests": [{"number": 3}]}


def order(key: str, payload: dict[str, Any]) -> str | None:
    return handler_key(key, handler="acme.scan", source="github", payload=payload)


@pytest.mark.parametrize(
    ("key", "payload", "value"),
    [
        ("installation", {"installation": {"id": 5}}, "5"),
        ("installation", {"installation": None}, None),
        ("repository", {"repository": REPOSITORY}, "7"),
        ("repository", {"repository": {"full_name": "Acme/Widgets"}}, "acme/widgets"),
        ("sender", {"sender": {"id": 9, "login": "octo"}}, "9"),
        ("sender", {"sender": {"login": "Octo"}}, "octo"),
        ("pull_request", {"repository": REPOSITORY, "pull_request": {"number": 3}}, "7#3"),
        ("pull_request", {"repository": REPOSITORY, "issue": {"number": 3, "pull_request": {"url": "…"}}}, "7#3"),
        ("pull_request", {"repository": REPOSITORY, "issue": {"number": 3}}, None),
        ("pull_request", {"repository": REPOSITORY, "check_run": PULL_REQUEST}, "7#3"),
        ("pull_request", {"repository": REPOSITORY, "check_suite": PULL_REQUEST}, "7#3"),
        ("pull_request", {"repository": REPOSITORY, "workflow_run": PULL_REQUEST}, "7#3"),
        (
            "pull_request",
            {"repository": REPOSITORY, "check_run": {"pull_requests": [{"number": 3}, {"number": 4}]}},
            None,
        ),
        ("pull_request", {"pull_request": {"number": 3}}, None),
        ("deployment.environment", {"deployment": {"environment": "Prod"}}, "prod"),
        ("check_run.pull_requests.number", {"check_run": {"pull_requests": [{"number": 3}, {"number": 4}]}}, "3"),
        ("client_payload.is_urgent", {"client_payload": {"is_urgent": True}}, "true"),
        ("client_payload.of", {"client_payload": {"of": {"a": 1}}}, None),
        ("client_payload.of", {"client_payload": {"of": ""}}, None),
    ],
)
def test_a_key_names_a_value_of_the_payload(key: str, payload: dict[str, Any], value: str | None) -> None:
    assert order(key, payload) == (value and f"acme.scan:github:{key}:{value}")


def test_a_long_value_or_one_that_no_database_takes_becomes_its_hash() -> None:
    texts = ["x" * 200, "x" * 199, "a\0b", "\ud800"]
    keys = [order("client_payload.of", {"client_payload": {"of": text}}) for text in texts]
    assert len(set(keys)) == len(keys)
    assert all(key is not None and key.startswith("acme.scan:github:sha256-") for key in keys)


@given(key=st.text(), value=st.text() | st.integers() | st.none() | st.lists(st.text()))
def test_no_value_makes_a_key_that_the_inbox_cannot_hold(key: str, value: Any) -> None:
    path = f"{key}.of"
    payload = {key: {"of": value}} if "." not in key else {}
    for found, column in ((order(path, payload), "order_key"), (_fair(path, payload), "fair_key")):
        longest = int(getattr(Job._meta.get_field(column), "max_length", 0))
        assert len(found or "") <= longest
        assert "\0" not in (found or "")
        assert (found or "").encode() is not None  # No lone surrogate: that would raise.


def _fair(key: str, payload: dict[str, Any]) -> str:
    return fair_key(key, handler="shop.count", source="github", payload=payload)


def test_a_party_is_one_over_all_handlers_and_begins_with_a_piece_of_its_hash() -> None:
    one, other = (_fair("installation", {"installation": {"id": number}}) for number in (5, 6))
    assert one.partition(":")[2] == "github:installation:5"
    assert one[:6] != other[:6]
    assert _fair("installation", {}) == ""


@pytest.mark.parametrize("text", ["team", "", "a..b", ".a", "a.", "a b.c", None, 5, ["a.b"]])
def test_what_is_neither_a_name_nor_a_path_is_no_key(text: Any) -> None:
    assert not is_key(text)


def scan(**options: Any) -> Subscription:
    @on("push", **options)
    def scan(event: Event) -> None: ...

    return only(scan)


def test_a_delivery_brings_the_keys_of_each_of_its_jobs() -> None:
    fair = scan(name="a.fair", fair_by="installation", one_at_a_time_by="repository")
    beside = scan(name="a.beside", latest_only_by="repository")
    other = scan(name="a.other", queue="other")
    headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    payload = {"repository": REPOSITORY, "installation": {"id": 5}}
    sent = Sent(source="github", headers=headers, body=b"{}", payload=payload)
    new = delivery_of(sent, Subscriptions([fair, beside, other]), secret_fingerprint="")
    assert new.keys_of(fair) == (_fair("installation", payload), "a.fair:github:repository:7", None)
    # In a shared queue, a handler without `fair_by` is nobody in particular.
    assert new.keys_of(beside) == ("", None, "a.beside:github:repository:7")
    assert "a.other" not in new.keys


def test_a_shared_queue_with_handlers_that_do_not_say_by_what_is_warned_of() -> None:
    found = [*faults_of(Subscriptions([scan(name="a.fair", fair_by="sender"), scan(name="a.beside")]))]
    assert [(message.id, "a.beside" in message.msg) for message in found] == [("webhooks.W002", True)]


def test_a_handler_is_a_party_whatever_its_payload_and_source_say() -> None:
    def party(handler: str, source: str = "github", **payload: Any) -> str:
        return fair_key("handler", handler=handler, source=source, payload=payload)

    assert party("shop.count", action="opened") == party("shop.count", source="ghes") != party("shop.bill")
