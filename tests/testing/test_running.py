"""What `webhooks.testing` makes of a sample, and how it says that a handler ended."""

from dataclasses import replace
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from webhooks import Event, GiveUp, RetryLater, Run, on
from webhooks.github import samples
from webhooks.testing import event, is_subscribed, run_handler

ENDS = {
    "retry": RetryLater("busy", after=300),
    "give up": GiveUp("gone for good"),
    "slow": SoftTimeLimitExceeded(),
    "exit": SystemExit(3),
    "wrong": KeyError("number"),
}


@on("pull_request", actions=["opened"], where={"repository.full_name": "acme/*"}, time_limit=10)
@on("pull_request", actions=["closed"], name="again")
def greet(event: Event, run: Run) -> str:
    title = event.payload["pull_request"]["title"]
    if title in ENDS:
        raise ENDS[title]
    return f"greeted #{event.payload['number']}, run {run.attempt}, stopping {run.stopping()}"


def test_an_event_is_the_sample_with_what_stands_around_it() -> None:
    made = event("pull_request")
    assert made.payload == samples.load("pull_request")
    assert (made.name, made.action, made.repository, made.source) == (
        "pull_request",
        "opened",
        "acme/widgets",
        "github",
    )
    assert made.delivery in made.idempotency_key
    assert made.idempotency_key != event("pull_request").idempotency_key


def test_objects_are_merged_dotted_names_reach_into_them_and_all_else_is_replaced() -> None:
    dotted: dict[str, Any] = {"repository.full_name": "acme/gears", "installation.id": 5, "new.object": 1}
    made = event(
        "pull_request",
        action="closed",
        pull_request={"user": {"login": "ana"}, "labels": ["bug"]},
        **dotted,
    )
    untouched = samples.load("pull_request")
    assert (made.action, made.repository, made.installation_id) == ("closed", "acme/gears", 5)
    assert made.payload["pull_request"]["user"] == untouched["pull_request"]["user"] | {"login": "ana"}
    assert made.payload["pull_request"]["title"] == untouched["pull_request"]["title"]
    assert (made.payload["pull_request"]["labels"], made.payload["new"]) == (["bug"], {"object": 1})
    assert event("pull_request").payload == untouched


def test_an_event_without_a_sample_needs_a_payload() -> None:
    with pytest.raises(LookupError, match="no sample of 'star'"):
        event("star")
    assert event("star", payload={"action": "created"}, starred_at="now").payload == {
        "action": "created",
        "starred_at": "now",
    }


@pytest.mark.parametrize(
    ("title", "kind", "message"),
    [
        ("Fine", "succeeded", "greeted #218, run 2, stopping True"),
        ("retry", "retry_later", "busy"),
        ("give up", "gave_up", "gone for good"),
        ("slow", "soft_limit", "The soft time limit of 9 s was reached."),
        ("exit", "failed", "SystemExit: 3"),
        ("wrong", "failed", "KeyError: 'number'"),
    ],
)
def test_a_handler_ends_as_it_would_in_a_worker(title: str, kind: str, message: str) -> None:
    opened = event("pull_request", pull_request={"title": title})
    outcome = run_handler(greet, opened, attempt=2, stopping=lambda: True)
    assert (outcome.kind, outcome.message) == (kind, message)
    assert outcome.after_seconds == (300 if title == "retry" else 0)
    assert ("in greet" in outcome.traceback) == (kind not in ("succeeded", "retry_later"))


def test_a_handler_is_not_run_for_an_event_that_it_does_not_match() -> None:
    elsewhere = event("pull_request", repository={"full_name": "other/widgets"})
    assert not is_subscribed(greet, elsewhere)
    with pytest.raises(ValueError, match=r"is not subscribed to this event \(pull_request, opened\)"):
        run_handler(greet, elsewhere)
    # Its second declaration has no `where`.
    assert is_subscribed(greet, event("pull_request", action="closed", repository={"full_name": "other/widgets"}))


def test_a_function_without_a_declaration_is_no_handler() -> None:
    with pytest.raises(ValueError, match="not declared as a handler"):
        run_handler(len, event("ping"))


def test_the_end_of_the_test_itself_is_no_outcome() -> None:
    @on("ping")
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_handler(interrupted, event("ping"))


def test_what_surrounds_the_payload_is_replaced_in_the_event() -> None:
    assert replace(event("ping"), source="ghes").source == "ghes"
