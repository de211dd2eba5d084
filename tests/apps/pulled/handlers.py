"""Handlers of a developer: one that works, one that fails, and one whose call of GitHub is recorded."""

from webhooks import Event, Run, on


@on("pull_request")
def label(event: Event) -> str:
    return f"labelled {event.payload['action']} #{event.payload['pull_request']['number']}"


@on("pull_request", actions=["closed"])
def fail(event: Event) -> None:
    raise ValueError(f"no good: {event.sender}")


@on("issue_comment")
def answer(event: Event, run: Run) -> str:
    owner, _, name = event.repository.partition("/")
    run.github.rest.issues.create_comment(owner, name, 7, body="hi")
    return "answered"
