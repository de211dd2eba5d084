"""The fixture `deliver`: a signed webhook through the receiver's views, and its jobs through the inbox."""

import uuid
from collections.abc import Callable
from types import ModuleType

import pytest
from django.conf import LazySettings

from webhooks import Event, GiveUp, RetryLater, Run, on
from webhooks.inbox.outcomes import Outcome
from webhooks.models import Attempt, Job
from webhooks.receiver import views
from webhooks.subscriptions import installed
from webhooks.subscriptions.subscription import discover
from webhooks.testing.deliveries import receiver_in_this_thread
from webhooks.testing.running import DEFAULTS

pytest_plugins = ["webhooks.testing.plugin"]
pytestmark = pytest.mark.both_databases

Deliver = Callable[..., dict[str, Outcome]]


@on("star")
def tell(event: Event, run: Run) -> str:
    answer = event.payload["answer"]
    if answer == "later":
        raise RetryLater("busy", after=30)
    if answer == "never":
        raise GiveUp("gone")
    return f"{answer} in run {run.attempt} of {event.idempotency_key}"


@pytest.fixture
def _own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop.handlers")
    vars(module)["tell"] = tell
    monkeypatch.setattr(installed, "_subscriptions", discover([("shop", module)], defaults=DEFAULTS))


def test_a_delivery_is_stored_and_its_jobs_are_run_and_recorded(deliver: Deliver) -> None:
    outcomes = deliver("push", ref="refs/heads/main")
    assert {name: outcome.kind for name, outcome in outcomes.items()} == {"catalog.request_scans": "succeeded"}
    job = Job.objects.get()
    assert (job.state, job.attempt, job.result) == ("succeeded", 1, outcomes["catalog.request_scans"].message)
    assert Attempt.objects.get().outcome == "succeeded"


@pytest.mark.usefixtures("_own_handlers")
def test_a_job_is_left_as_its_outcome_leaves_it(deliver: Deliver) -> None:
    outcome = deliver("star", payload={"answer": "later"})["shop.tell"]
    assert (outcome.kind, outcome.after_seconds) == ("retry_later", 30)
    assert Job.objects.get().state == "retrying"
    assert deliver("star", payload={"answer": "never"})["shop.tell"].message == "gone"
    assert sorted(Job.objects.values_list("state", flat=True)) == ["dead", "retrying"]


@pytest.mark.usefixtures("_own_handlers")
def test_a_redelivery_runs_again_what_is_dead_and_nothing_else(deliver: Deliver) -> None:
    guid, dead = str(uuid.uuid4()), str(uuid.uuid4())
    first = deliver("star", payload={"answer": "yes"}, guid=guid)["shop.tell"]
    assert (first.kind, first.message[:12]) == ("succeeded", "yes in run 1")
    assert guid in first.message
    assert deliver("star", payload={"answer": "yes"}, guid=guid) == {}
    for _ in range(2):
        assert deliver("star", payload={"answer": "never"}, guid=dead)["shop.tell"].kind == "gave_up"


@pytest.mark.usefixtures("_own_handlers")
def test_an_event_that_nobody_wants_has_no_outcome(deliver: Deliver) -> None:
    assert deliver("push") == {}


def test_a_delivery_that_is_refused_fails_the_test_with_the_answer(deliver: Deliver, settings: LazySettings) -> None:
    settings.HOOKLINE_MAX_BODY_MB = 0
    with pytest.raises(AssertionError, match=r"The receiver answered 413: .*over the limit"):
        deliver("ping")


def test_the_receiver_has_its_own_threads_again_afterwards() -> None:
    before = views.committer, views.publisher
    with receiver_in_this_thread():
        assert before != (views.committer, views.publisher)
    assert before == (views.committer, views.publisher)
