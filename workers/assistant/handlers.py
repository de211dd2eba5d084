"""Three handlers that call GitHub's API as the App: how to use `run.github`, and run twice without doing twice.

Each looks first for what an earlier run has done, since GitHub's API takes no idempotency key. Without the App's key
they do nothing and say so.
"""

import base64
import functools
from collections.abc import Callable, Mapping
from typing import Any

from webhooks import Event, NoGitHubAccess, Run, on
from workers.assistant.dependencies import dependencies
from workers.catalog.ecosystems import manifests
from workers.catalog.handlers import keep_installed
from workers.catalog.reading import MissingError, objects, required, texts

LABELS: Mapping[str, tuple[str, ...]] = {
    "documentation": ("docs/", "README"),
    "tests": ("tests/", "test/"),
    "ci": (".github/workflows/", ".ci/"),
}
CHECK = "Manifests"
PAGE = 100
MOST_MANIFESTS = 20


def without_key_does_nothing(handler: Callable[[Event, Run], str | None]) -> Callable[[Event, Run], str | None]:
    """Let a handler succeed where it has no App to call the API as, or the payload lacks what it needs."""

    @functools.wraps(handler)
    def handle(event: Event, run: Run) -> str | None:
        try:
            return handler(event, run)
        except (NoGitHubAccess, MissingError) as reason:
            return f"nothing done: {reason}"

    return handle


@on("pull_request", actions=["opened", "synchronize", "reopened"], uses_api=True, time_limit=120)
@without_key_does_nothing
def label_by_paths(event: Event, run: Run) -> str | None:
    """Label a pull request by the paths that it changes. GitHub adds a label once, however often it is told."""
    rest, (owner, name) = run.github.rest, _repository(event)
    number = required(event.payload, "number", int)
    files = rest.paginate(
        rest.pulls.list_files, lambda page: page.json(), owner=owner, repo=name, pull_number=number, per_page=PAGE
    )
    paths = [file["filename"] for file in files]
    labels = [label for label, starts in LABELS.items() if any(path.startswith(starts) for path in paths)]
    if not labels:
        return None
    rest.issues.add_labels(owner, name, number, labels=labels)
    return f"#{number}: {', '.join(labels)}"


@on("push", where={"deleted": False}, uses_api=True, time_limit=120)
@without_key_does_nothing
def check_manifests(event: Event, run: Run) -> str | None:
    """Make a check run of the head commit that lists the dependencies in the manifests that the push touches."""
    head = required(event.payload, "head_commit", dict)
    touched = texts(head, "added") | texts(head, "modified")
    for commit in objects(event.payload, "commits"):
        touched |= texts(commit, "added") | texts(commit, "modified")
    found = list(manifests(touched))[:MOST_MANIFESTS]
    if not found:
        return None
    rest, (owner, name), commit_id = run.github.rest, _repository(event), required(head, "id", str)
    made = rest.checks.list_for_ref(owner, name, commit_id, check_name=CHECK).json()
    if any(one["external_id"] == event.idempotency_key for one in made["check_runs"]):
        return "checked by an earlier run"
    listed = {path: dependencies(path, _text(run, owner, name, path, commit_id)) for path in found}
    rest.checks.create(
        owner,
        name,
        name=CHECK,
        head_sha=commit_id,
        external_id=event.idempotency_key,
        status="completed",
        conclusion="neutral",
        output={"title": f"{len(listed)} manifests", "summary": _summary(listed)},
    )
    return f"{len(listed)} manifests, {sum(len(names or ()) for names in listed.values())} dependencies"


@on("installation", actions=["created"], uses_api=True, time_limit=300)
@without_key_does_nothing
def list_repositories(event: Event, run: Run) -> str:
    """Store every repository that a new installation may see: the event itself lists only some of many."""
    rest = run.github.rest
    pages = rest.paginate(
        rest.apps.list_repos_accessible_to_installation, lambda page: page.json()["repositories"], per_page=PAGE
    )
    return f"Welcome: {keep_installed(event, list(pages))} repositories"


def _repository(event: Event) -> tuple[str, str]:
    owner, _, name = required(event.payload, "repository.full_name", str).partition("/")
    return owner, name


def _text(run: Run, owner: str, name: str, path: str, commit: str) -> str:
    """Return a file as it is at a commit; empty if it is no longer there, or too large for this call."""
    answer: Any = run.github.rest.repos.get_content(owner, name, path, ref=commit).json()
    return base64.b64decode(answer.get("content", "")).decode(errors="replace")


def _summary(listed: Mapping[str, Any]) -> str:
    said = {path: "not read" if names is None else ", ".join(names) or "none" for path, names in listed.items()}
    lines = [f"* `{path}`: {names}" for path, names in said.items()]
    return "\n".join(lines)[:60_000]
