"""The receiver through Django: every answer it has, and what stands in the inbox after it."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from django.conf import LazySettings
from django.test import Client

from tests.support.deliveries import PATH, body_of, headers_for
from tests.support.receiving import fresh_receiver
from webhooks.github.payload import FORM
from webhooks.github.signature import secret_fingerprint
from webhooks.inbox import due
from webhooks.models import Delivery, Job, Payload, Source
from webhooks.receiver import views
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Subscription
from webhooks.traces.context import trace_id_of

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

OLD, NEW = "the old secret of this hook", "the new secret of this hook"
MARKER = "marker-that-only-the-sender-knows"
BODY = body_of(zen="Speak like a human.", note=MARKER)


@pytest.fixture(autouse=True)
def receiver(settings: LazySettings) -> Iterator[None]:
    settings.HOOKLINE_SECRETS = {"github": [OLD, NEW], "ghes": ["the secret of the other server"]}
    settings.HOOKLINE_MAX_BODY_MB = 1
    with fresh_receiver():
        yield


def post(
    body: bytes = BODY,
    *,
    path: str = PATH,
    secret: str = NEW,
    event: str = "ping",
    guid: str = "",
    hook_id: int = 7,
    without: str = "",
    **changed: str,
) -> "Response":
    """POST a signed delivery, with headers changed (underscores for hyphens) or left out."""
    headers = headers_for(body, secret=secret, event=event, guid=guid, hook_id=hook_id)
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    headers.pop(without, None)
    content_type = headers.pop("Content-Type", "")
    length = headers.pop("Content-Length", None)
    extra: dict[str, Any] = {} if length is None else {"CONTENT_LENGTH": length}
    return Client(raise_request_exception=False).generic("POST", path, body, content_type, headers=headers, **extra)


def told(response: "Response") -> Any:
    assert response["Content-Type"] == "application/json"
    return json.loads(response.content)


def hold_refused(response: "Response", status: int) -> str:
    """The answer is JSON with one sentence that repeats nothing, and nothing is stored; return the sentence."""
    assert response.status_code == status
    answer = told(response)
    assert answer.keys() == {"error"}
    sentence: str = answer["error"]
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for secret_or_sent in (MARKER, OLD, NEW):
        assert secret_or_sent not in sentence
    assert not Delivery.objects.exists()
    return sentence


def the_delivery() -> Delivery:
    return Delivery.objects.select_related("source", "payload").get()


# --- Accepted ---------------------------------------------------------------------------------------------------------


def test_a_signed_delivery_is_acknowledged_and_stands_in_the_inbox() -> None:
    guid = str(uuid.uuid4())
    body = body_of(
        action="created",
        repository={"full_name": "acme/widgets", "id": 9},
        installation={"id": 5},
        sender={"login": "octocat"},
    )
    response = post(body, event="repository", guid=guid, hook_id=77)
    delivery = the_delivery()
    assert response.status_code == 202
    assert told(response) == {"delivery": delivery.pk, "jobs": 1}
    assert (delivery.source.name, delivery.hook_id, str(delivery.guid)) == ("github", 77, guid)
    assert (delivery.event, delivery.action, delivery.repository) == ("repository", "created", "acme/widgets")
    assert (delivery.installation_id, delivery.sender) == (5, "octocat")
    assert (bytes(delivery.payload.body), delivery.body_bytes) == (body, len(body))
    assert (delivery.repeats, delivery.last_repeat_at) == (0, None)
    job = Job.objects.get()
    assert (job.delivery_id, job.handler, job.queue) == (delivery.pk, "catalog.record_repository", "default")
    assert (job.state, job.attempt, job.worker) == (JobState.QUEUED, 0, "")
    assert Job.objects.filter(due.CLAIMABLE).exists()


def test_a_ping_is_recorded_like_any_other_and_has_its_job() -> None:
    response = post(event="ping")
    assert response.status_code == 202
    assert told(response)["jobs"] == 1
    assert the_delivery().event == "ping"
    assert Job.objects.get().handler == "catalog.mark_hook_live"


def test_an_event_that_nobody_subscribes_to_is_stored_without_jobs() -> None:
    response = post(event="an_event_of_tomorrow")
    assert (response.status_code, told(response)["jobs"]) == (202, 0)
    assert the_delivery().event == "an_event_of_tomorrow"
    assert not Job.objects.exists()


def test_a_condition_on_the_payload_decides_over_the_job() -> None:
    assert told(post(body_of(deleted=True), event="push"))["jobs"] == 0
    assert told(post(body_of(deleted=False), event="push"))["jobs"] == 1


def test_a_form_is_stored_as_it_came_and_read_as_its_payload() -> None:
    body = urlencode({"payload": '{"action": "opened", "repository": {"full_name": "acme/widgets"}}'}).encode()
    response = post(body, Content_Type=FORM, event="issues")
    assert response.status_code == 202
    delivery = the_delivery()
    assert bytes(delivery.payload.body) == body
    assert (delivery.action, delivery.repository) == ("opened", "acme/widgets")
    assert delivery.headers["Content-Type"] == FORM


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_a_content_type_may_have_parameters_and_any_case(content_type: str) -> None:
    assert post(Content_Type=content_type).status_code == 202


def test_a_delivery_without_a_hook_id_counts_as_hook_0() -> None:
    assert post(without="X-GitHub-Hook-ID").status_code == 202
    assert the_delivery().hook_id == 0


def test_a_nul_in_the_payload_is_no_fault() -> None:
    body = b'{"action": "a\\u0000b", "repository": {"full_name": "\\u0000"}, "sender": {"login": "o"}}'
    assert post(body).status_code == 202
    delivery = the_delivery()
    assert (delivery.action, delivery.repository, delivery.sender) == ("", "", "o")
    assert bytes(delivery.payload.body) == body


def test_lists_in_lists_where_a_subscription_looks_are_no_fault() -> None:
    body = b'{"deleted": ' + b"[" * 1023 + b"false" + b"]" * 1023 + b"}"
    response = post(body, event="push")
    assert (response.status_code, told(response)["jobs"]) == (202, 1)
    assert bytes(the_delivery().payload.body) == body


def test_half_a_character_in_a_text_is_stored_as_it_came_and_shown_as_the_replacement_character() -> None:
    body = rb'{"sender": {"login": "cut off \ud83d"}, "number": 1e400}'
    assert post(body).status_code == 202
    delivery = the_delivery()
    assert delivery.sender == "cut off \N{REPLACEMENT CHARACTER}"
    assert bytes(delivery.payload.body) == body


def test_a_subscription_that_cannot_be_matched_costs_its_own_job_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(subscription: Subscription, *_: Any) -> bool:
        if subscription.name == "catalog.mark_hook_live":
            raise RuntimeError
        return True

    monkeypatch.setattr(Subscription, "matches", fail)
    response = post()
    handlers = set(Job.objects.values_list("handler", flat=True))
    assert (response.status_code, told(response)["jobs"]) == (202, len(handlers))
    assert handlers == {subscription.name for subscription in installed_subscriptions()} - {"catalog.mark_hook_live"}
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert vars(record)["handler"] == "catalog.mark_hook_live"


def test_a_fault_of_our_own_before_the_commit_is_answered_in_json(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(MARKER)

    monkeypatch.setattr("webhooks.inbox.sent.summarise", fail)
    hold_refused(post(), 500)
    assert "delivery failed" in caplog.text


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_trace_that_a_request_is_part_of_is_stored() -> None:
    assert post(traceparent=TRACEPARENT).status_code == 202
    assert the_delivery().headers["traceparent"] == TRACEPARENT
    assert trace_id_of(the_delivery()) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        f"{TRACEPARENT}\t",
        f"{TRACEPARENT}-more",
        f"{TRACEPARENT},{TRACEPARENT}",
        TRACEPARENT.upper(),
        TRACEPARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        MARKER,
    ],
)
def test_what_names_no_trace_is_not_stored_and_the_guid_stands_in_for_it(traceparent: str) -> None:
    assert post(traceparent=traceparent).status_code == 202
    assert "traceparent" not in the_delivery().headers
    assert trace_id_of(the_delivery()) == the_delivery().guid.hex


def test_only_allow_listed_headers_are_stored() -> None:
    leaked = "dGhlIHNlY3JldCBvZiB0aGUgaG9vaw=="
    response = post(
        X_Github_Encoded_Secret=leaked,
        Authorization=leaked,
        Cookie=f"session={leaked}",
        X_Hub_Signature=f"sha1={leaked}",
        X_GitHub_Hook_Installation_Target_Type="integration",
        X_GitHub_Hook_Installation_Target_ID="340077",
        X_GitHub_Enterprise_Host="ghes.example",
        X_GitHub_Enterprise_Version="3.16.0",
        User_Agent="GitHub-Hookshot/" + "a" * 1000,
    )
    assert response.status_code == 202
    delivery = the_delivery()
    assert delivery.headers.keys() == {
        "Content-Type",
        "User-Agent",
        "X-GitHub-Delivery",
        "X-GitHub-Enterprise-Host",
        "X-GitHub-Enterprise-Version",
        "X-GitHub-Event",
        "X-GitHub-Hook-ID",
        "X-GitHub-Hook-Installation-Target-ID",
        "X-GitHub-Hook-Installation-Target-Type",
    }
    assert len(delivery.headers["User-Agent"]) == 200
    (row,) = Delivery.objects.values()
    for hidden in (leaked, NEW, "sha256="):
        assert hidden not in str(row)


def test_either_of_two_secrets_is_accepted_and_the_inbox_tells_which(settings: LazySettings) -> None:
    assert post(secret=OLD, guid=str(uuid.UUID(int=1))).status_code == 202
    assert post(secret=NEW, guid=str(uuid.UUID(int=2))).status_code == 202
    old, new = Delivery.objects.order_by("guid").values_list("secret_fingerprint", flat=True)
    assert old == secret_fingerprint(OLD, key=settings.SECRET_KEY)
    assert new == secret_fingerprint(NEW, key=settings.SECRET_KEY)
    assert old != new


def test_each_source_has_its_own_secrets_and_deliveries() -> None:
    guid = str(uuid.uuid4())
    assert post(path="/webhooks/ghes", secret=NEW, guid=guid).status_code == 401
    assert post(path="/webhooks/ghes", secret="the secret of the other server", guid=guid).status_code == 202
    assert post(guid=guid).status_code == 202
    assert set(Delivery.objects.values_list("source__name", flat=True)) == {"github", "ghes"}
    assert Source.objects.count() == 2


# --- Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/webhooks/gitlab", "/webhooks/GitHub", "/webhooks/hub_git"])
def test_an_unknown_source_is_404(path: str) -> None:
    hold_refused(post(path=path), 404)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_405_and_told_which_is_allowed(method: str) -> None:
    headers = headers_for(BODY, secret=NEW)
    response = Client().generic(method, PATH, BODY, headers.pop("Content-Type"), headers=headers)
    assert response["Allow"] == "POST"
    if method != "HEAD":
        hold_refused(response, 405)
    assert response.status_code == 405


@pytest.mark.parametrize("length", ["", "-1", "+1", " 1", "1.0", "1e3", "1_0", "5, 5", "٣", "9" * 19])
def test_a_length_that_is_no_number_is_400(length: str) -> None:
    hold_refused(post(Content_Length=length), 400)


def test_a_delivery_without_a_body_and_a_length_is_411() -> None:
    hold_refused(post(b""), 411)


def test_a_length_over_the_limit_is_413_before_the_body_is_read() -> None:
    # Django's test client fails where more is read than was sent; this body is far shorter than it says.
    hold_refused(post(Content_Length=str(1024 * 1024 + 1)), 413)
    hold_refused(post(Content_Type=FORM, Content_Length=str(3 * 1024 * 1024 + 1)), 413)


def test_a_body_of_just_the_limit_is_accepted_and_may_triple_in_a_form() -> None:
    frame = len(b'{"a": ""}')
    text = b'{"a": "' + b"%" * (1024 * 1023 - frame) + b" " * 1024 + b'"}'
    assert len(text) == 1024 * 1024
    assert post(text).status_code == 202
    form = urlencode({"payload": text}).encode()
    assert len(form) > 2.9 * 1024 * 1024
    assert post(form, Content_Type=FORM).status_code == 202
    assert Payload.objects.count() == 2


def test_a_payload_over_the_limit_inside_its_form_is_413() -> None:
    body = b"payload=" + b"a" * (1024 * 1024 + 1)
    hold_refused(post(body, Content_Type=FORM), 413)


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "application/jsonp", "json"])
def test_another_content_type_is_415(content_type: str) -> None:
    hold_refused(post(Content_Type=content_type), 415)


@pytest.mark.parametrize("event", ["", "Push", "pu sh", "push,push", "1", "_push", "p" * 101, "push\n", "püsh", "*"])
def test_an_event_that_is_missing_or_no_name_is_400(event: str) -> None:
    hold_refused(post(X_GitHub_Event=event), 400)


@pytest.mark.parametrize(
    "guid",
    [
        "",
        "not-a-guid",
        "{12345678-1234-1234-1234-123456789abc}",
        "urn:uuid:12345678-1234-1234-1234-123456789abc",
        "12345678123412341234123456789abc",
        "12345678-1234-1234-1234-123456789abc\n",
        "12345678-1234-1234-1234-123456789abg",
        "1234567٨-1234-1234-1234-123456789abc",
    ],
)
def test_a_delivery_header_that_is_no_guid_is_400(guid: str) -> None:
    hold_refused(post(X_GitHub_Delivery=guid), 400)


@pytest.mark.parametrize("hook_id", ["", "-1", "a", "1.0", "٣", str(2**63), "9" * 20, "7,7", "7\n"])
def test_a_hook_id_that_is_no_number_is_400(hook_id: str) -> None:
    hold_refused(post(X_GitHub_Hook_ID=hook_id), 400)


@pytest.mark.parametrize("name", ["X-GitHub-Event", "X-GitHub-Delivery"])
def test_a_missing_header_is_400_and_is_named(name: str) -> None:
    assert name in hold_refused(post(without=name), 400)


def test_a_missing_signature_is_401() -> None:
    assert "X-Hub-Signature-256" in hold_refused(post(without="X-Hub-Signature-256"), 401)


def test_sha_1_alone_is_401() -> None:
    hold_refused(post(without="X-Hub-Signature-256", X_Hub_Signature="sha1=" + "0" * 40), 401)


@pytest.mark.parametrize(
    "signature", ["", "sha256=", "sha256=" + "0" * 64, "sha1=" + "0" * 40, "é", "sha256=" + "é" * 64]
)
def test_a_signature_that_is_wrong_or_malformed_is_401(signature: str) -> None:
    hold_refused(post(X_Hub_Signature_256=signature), 401)


def test_a_secret_that_is_not_among_the_sources_is_401() -> None:
    hold_refused(post(secret="a secret that somebody guessed"), 401)


def test_a_signature_over_another_body_is_401() -> None:
    signature = headers_for(BODY + b" ", secret=NEW)["X-Hub-Signature-256"]
    hold_refused(post(X_Hub_Signature_256=signature), 401)


def test_the_signature_is_held_against_the_raw_body() -> None:
    """The same JSON in other bytes is another body."""
    signature = headers_for(json.dumps(json.loads(BODY), indent=1).encode(), secret=NEW)["X-Hub-Signature-256"]
    hold_refused(post(X_Hub_Signature_256=signature), 401)


def test_an_unsigned_sender_learns_nothing_of_the_body() -> None:
    hold_refused(post(b"{ no JSON", secret="a secret that somebody guessed"), 401)


@pytest.mark.parametrize("body", [MARKER.encode(), f'["{MARKER}"]'.encode(), b'{"a": NaN}', b"\xff", b"{" * 9000])
def test_a_signed_body_that_is_no_json_object_is_400(body: bytes) -> None:
    hold_refused(post(body), 400)


@pytest.mark.parametrize("body", [MARKER.encode(), b"{}", b"payload=%ff", b"payload={}&payload={}"])
def test_a_signed_form_without_one_payload_is_400(body: bytes) -> None:
    hold_refused(post(body, Content_Type=FORM), 400)


def test_an_error_needs_no_cookie_and_sets_none() -> None:
    assert not post(without="X-Hub-Signature-256").cookies


# --- Repeated ---------------------------------------------------------------------------------------------------------


def test_a_repeated_delivery_is_acknowledged_but_not_stored_twice() -> None:
    guid = str(uuid.uuid4())
    first = post(guid=guid)
    again = [post(guid=guid), post(guid=guid.upper(), secret=OLD)]
    assert [response.status_code for response in again] == [200, 200]
    for response in again:
        assert told(response) == {**told(first), "duplicate": True}
    delivery = the_delivery()
    assert delivery.repeats == 2
    assert delivery.last_repeat_at is not None
    assert Job.objects.count() == Payload.objects.count() == 1


def test_the_same_guid_from_two_hooks_is_two_deliveries() -> None:
    guid = str(uuid.uuid4())
    assert [post(guid=guid, hook_id=hook_id).status_code for hook_id in (0, 1, 2)] == [202, 202, 202]
    assert Delivery.objects.count() == Job.objects.count() == 3


def test_a_repeat_requeues_dead_jobs_with_a_new_budget() -> None:
    guid = str(uuid.uuid4())
    post(guid=guid)
    Job.objects.update(
        state=JobState.DEAD, attempt=7, forgiven=1, lost=1, publish_at=None, finished_at="2026-01-01T00:00Z"
    )
    assert post(guid=guid).status_code == 200
    job = Job.objects.get()
    assert (job.state, job.attempt, job.budget_from_attempt) == (JobState.QUEUED, 7, 7)
    assert (job.forgiven, job.lost, job.finished_at) == (0, 0, None)
    assert job.publish_at is not None


@pytest.mark.parametrize(
    "state", [JobState.QUEUED, JobState.RUNNING, JobState.RETRYING, JobState.SUCCEEDED, JobState.SKIPPED]
)
def test_a_repeat_leaves_jobs_alone_that_are_not_dead(state: JobState) -> None:
    guid = str(uuid.uuid4())
    post(guid=guid)
    Job.objects.update(state=state, attempt=1, publish_at=None)
    before = Job.objects.values().get()
    assert post(guid=guid).status_code == 200
    assert Job.objects.values().get() == before


def test_a_repeat_with_another_body_changes_nothing_of_the_first() -> None:
    guid = str(uuid.uuid4())
    post(guid=guid)
    assert post(body_of(other=True), guid=guid).status_code == 200
    assert bytes(the_delivery().payload.body) == BODY


def test_a_repeat_must_be_signed_too() -> None:
    guid = str(uuid.uuid4())
    post(guid=guid)
    assert post(guid=guid, secret="a secret that somebody guessed").status_code == 401
    assert the_delivery().repeats == 0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have deliveries wait for a commit for as long as this machine takes for twenty of them."""
    monkeypatch.setattr(views.committer(), "_wait_seconds", 60.0)
    monkeypatch.setattr("webhooks.inbox.committer.LONGEST_SECONDS", 60.0)


@pytest.mark.usefixtures("patient")
def test_a_delivery_that_comes_twenty_times_at_once_is_stored_once() -> None:
    guid = str(uuid.uuid4())
    with ThreadPoolExecutor(20) as senders:
        answers = list(senders.map(lambda _: post(guid=guid), range(20)))
    assert Counter(response.status_code for response in answers) == {202: 1, 200: 19}
    assert the_delivery().repeats == 19
    assert Job.objects.count() == Payload.objects.count() == 1


@pytest.mark.usefixtures("patient")
def test_twenty_first_deliveries_at_once_create_their_source_once() -> None:
    with ThreadPoolExecutor(20) as senders:
        answers = list(senders.map(lambda number: post(hook_id=number), range(20)))
    assert [response.status_code for response in answers] == [202] * 20
    assert Delivery.objects.count() == Job.objects.count() == 20
    assert Source.objects.count() == 1


# --- Probes -----------------------------------------------------------------------------------------------------------


def test_livez_asks_nothing() -> None:
    response = Client().get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


def test_readyz_tells_of_database_and_broker_in_its_body() -> None:
    response = Client().get("/readyz")
    assert response.status_code == 200
    told = {"status": "ready", "faults": [], "database": "available", "broker": "available", "reasons": []}
    assert response.json() == told


def test_metrics_are_prometheus_text() -> None:
    response = Client().get("/metrics")
    assert response.status_code == 200
    assert b"hookline_inbox_unavailable_total" in response.content
