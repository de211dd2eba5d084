"""What ACME's bot does for GitHub's events."""

from webhooks import Backoff, Event, Run, on


@on("pull_request", actions=["opened", "synchronize"], where={"repository.full_name": "acme/*"}, queue="io")
def label_by_path(event: Event) -> str:
    return f"labelled {event.repository}"


@on(["issues", "issue_comment"], time_limit=30, max_attempts=2, backoff=Backoff(first=1, longest=8), name="acme.triage")
def triage(event: Event, run: Run) -> str | None:
    return None if run.stopping() else f"triaged for {event.sender}"
