"""What a target's answer means: for the job, for what the timeline shows, and for the breaker."""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.support.claimed_jobs import claimed_job
from tests.support.targets import Says, target
from tests.support.targets import Target as There
from webhooks.destination_handlers import NotForwardedError
from webhooks.forwarding import sending
from webhooks.forwarding.handler import forward, retry_after
from webhooks.inbox.calls import outcome_of
from webhooks.inbox.destinations import changing
from webhooks.inbox.destinations.changing import Secrets
from webhooks.inbox.destinations.running import Forwarded, Target, subscription_of_run
from webhooks.models import Destination
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.event import RetryLater

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

SECRET = "secret-of-the-signature"
TOKEN = "a-token-that-stays-hidden"


@pytest.fixture
def there() -> Iterator[There]:
    with target() as one:
        changing.create("chat", {"events": ["push"], "url": one.url}, Secrets(), who="ana")
        yield one
        sending.close()


def forwarded(there: There, **values: Any) -> Forwarded:
    given: dict[str, Any] = {
        "name": "chat", "url": there.url, "headers": {"X-Token": TOKEN, "User-Agent": "mine"}, "signing": "none",
        "signing_secret": "", "time_limit": 5.0, "allow_private": True,
    }  # fmt: skip
    return Forwarded(Target(**given | values), claimed_job(handler="forward.chat"), b'{"ref": "main"}')


def refused(there: There, **values: Any) -> NotForwardedError:
    with pytest.raises(NotForwardedError) as caught:
        forward(forwarded(there, **values))
    return caught.value


def now() -> Destination:
    return Destination.objects.get()


def test_a_delivery_that_is_taken_is_sent_as_github_sent_it_and_signed_anew(there: There) -> None:
    there.answer = lambda *_: Says(201, body=b"thanks")
    said = forward(forwarded(there, signing="github", signing_secret=SECRET))
    assert said.startswith("201 in ")
    assert said.endswith("ms: thanks")
    [got] = there.got
    expected = hmac.new(SECRET.encode(), got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-hub-signature-256"] == f"sha256={expected}"
    assert (got.headers["x-github-event"], got.headers["x-token"]) == ("push", TOKEN)
    assert got.headers["user-agent"].startswith("Hookline/")
    assert got.headers["idempotency-key"] == "github:1:00000000-0000-0000-0000-000000000001:forward.chat"
    assert now().succeeded_at is not None


@pytest.mark.parametrize(
    ("status", "kind", "counts"),
    [
        (500, AttemptOutcome.FAILED, 1), (503, AttemptOutcome.FAILED, 1), (429, AttemptOutcome.FAILED, 0),
        (408, AttemptOutcome.FAILED, 0), (404, AttemptOutcome.GAVE_UP, 0), (302, AttemptOutcome.GAVE_UP, 0),
    ],
)  # fmt: skip
def test_a_status_says_whether_it_is_tried_again_and_whether_the_breaker_counts_it(
    there: There, status: int, kind: AttemptOutcome, counts: int
) -> None:
    there.answer = lambda *_: Says(status, body=f"no: {TOKEN}".encode())
    outcome = outcome_of(subscription_of_run("forward.chat"), refused(there))
    assert (outcome.kind, now().failures) == (kind, counts)
    assert outcome.message.startswith(f"{status} in ")
    assert "no: •••" in outcome.traceback
    assert TOKEN not in outcome.message + outcome.traceback


@pytest.mark.parametrize("status", [429, 503])
def test_a_target_that_names_a_time_is_asked_again_then_and_no_attempt_is_spent(there: There, status: int) -> None:
    there.answer = lambda *_: Says(status, {"Retry-After": "90"})
    with pytest.raises(RetryLater) as caught:
        forward(forwarded(there))
    assert caught.value.after_seconds == 90
    assert now().failures == 0


def test_no_answer_in_time_counts_and_is_tried_again(there: There) -> None:
    there.answer = lambda *_: Says(waits_seconds=30)
    error = refused(there, time_limit=0.3)
    assert (str(error), error.is_final) == ("No answer in 0.3 s.", False)
    assert now().failure == "No answer in 0.3 s."


def test_a_private_address_ends_the_job_and_the_message_names_no_address(there: There) -> None:
    error = refused(there, allow_private=False)
    assert error.is_final
    assert "not public" in str(error)
    assert "127.0.0.1" not in str(error)
    assert there.got == []


def test_a_secret_that_does_not_fit_the_scheme_ends_the_job(there: There) -> None:
    error = refused(there, signing="standard", signing_secret="whsec_odd")
    assert (error.is_final, error.kind) == (True, "signing")
    assert "whsec_odd" not in str(error)


def test_when_to_ask_again_is_a_number_or_a_date() -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert retry_after("120", now=at) == 120
    assert retry_after(format_datetime(at + timedelta(minutes=5), usegmt=True), now=at) == 300
    assert retry_after(format_datetime(at - timedelta(minutes=5), usegmt=True), now=at) == 0
    assert retry_after("999999999", now=at) == 86_400
    assert retry_after("soon", now=at) is None
    assert retry_after("", now=at) is None
