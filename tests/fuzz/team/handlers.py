"""Conditions on members, on lists, on lists in lists, and on values that are no text. No worker runs them."""

from webhooks import Event, on


@on("push", where={"commits.added": ["*.toml", "*requirements*.txt"], "deleted": False})
def weigh_dependencies(event: Event) -> None: ...


@on("*", where={"pull_request.labels.name": "urgent", "pull_request.draft": [False, None]})
def hurry(event: Event) -> None: ...


@on("*", where={"repository.full_name": "acme/*", "repository.topics": "*hook*"})
def follow(event: Event) -> None: ...


@on("*", where={"installation.id": [7, 8], "sender.login": "dependabot[bot]"}, once_per_event=True)
def wait_for_the_bot(event: Event) -> None: ...
