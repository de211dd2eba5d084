"""Handlers of a developer: one that works, one that fails, and one whose call of GitHub is recorded."""

from webhooks import Event, on, recorded_calls


@on("pull_request")
def label(event: Event) -> str:
    return f"labelled {event.payload['action']} #{event.payload['pull_request']['number']}"


@on("pull_request", actions=["closed"])
def fail(event: Event) -> None:
    raise ValueError(f"no good: {event.sender}")


@on("issue_comment")
def answer(event: Event) -> str:
    recorded_calls.note("POST", f"https://api.github.com/repos/{event.repository}/issues/7/comments", '{"body": "hi"}')
    return "answered"
