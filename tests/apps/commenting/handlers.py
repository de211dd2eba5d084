"""A handler that comments on what was opened, by GitHub's API, and one beside it that calls nothing."""

from typing import Any

from tests.apps.trial.handlers import leave_a_mark
from webhooks import Event, Run, on


@on("pull_request", actions=["opened"], queue="trial", uses_api=True)
def comment(event: Event, run: Run) -> str:
    leave_a_mark(event, run.attempt, "begun")
    owner, _, name = event.repository.partition("/")
    number, issues = event.payload["number"], run.github.rest.issues
    made: Any = issues.list_comments(owner, name, number).json()
    if any(comment["body"] == event.idempotency_key for comment in made):
        return "commented by an earlier run"
    issues.create_comment(owner, name, number, body=event.idempotency_key)
    return f"commented on #{number}"


@on("pull_request", actions=["opened"], queue="trial")
def count(event: Event) -> str:
    return f"counted #{event.payload['number']}"
