"""Names that GitHub takes in any case match in any case; all else matches as it is written."""

from typing import Any

import pytest

from webhooks.subscriptions.matching import Expected, payload_matches

REPOSITORY = {
    "name": "Widgets",
    "full_name": "Acme/Widgets",
    "default_branch": "Main",
    "description": "Widgets",
    "owner": {"login": "Acme", "name": "Acme"},
    "custom_properties": {"environment": "Production"},
}
PAYLOAD: dict[str, Any] = {
    "action": "labeled",
    "ref": "refs/heads/Main",
    "environment": "Production",
    "label": {"name": "Bug", "color": "FF0000"},
    "repository": REPOSITORY,
    "organization": {"login": "Acme"},
    "sender": {"login": "Octocat", "type": "User"},
    "pusher": {"name": "Octocat", "email": "Octocat@example.com"},
    "commits": [{"author": {"username": "Octocat", "name": "Mona Octocat"}, "added": ["README.md"]}],
    "pull_request": {
        "title": "Mend It",
        "labels": [{"name": "Bug"}],
        "user": {"login": "Renovate[bot]"},
        "head": {"ref": "Feature", "label": "Acme:Feature", "repo": REPOSITORY},
        "requested_teams": [{"slug": "core-team", "name": "Core Team"}],
    },
    "repositories_added": [{"name": "Widgets", "full_name": "Acme/Widgets"}],
    "changes": {"repository": {"name": {"from": "Gadgets"}}, "title": {"from": "Mend It"}},
    "client_payload": {"login": "Octocat", "repository": {"name": "Widgets"}},
    "deployment": {"environment": "Production", "payload": {"environment": "Production"}},
    "workflow": {"name": "Build"},
    "milestone": {"title": "First"},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("repository.full_name", "acme/widgets"),
        ("repository.full_name", "ACME/*"),
        ("repository.full_name", ["other/*", "acme/WIDGETS"]),
        ("repository.full_name", "[A-C]cme/*"),
        ("repository.name", "widgets"),
        ("repository.owner.login", "acme"),
        ("repository.owner.name", "acme"),
        ("organization.login", "ACME"),
        ("sender.login", "octocat"),
        ("pusher.name", "octocat"),
        ("commits.author.username", "octocat"),
        ("pull_request.user.login", "renovate[bot]"),
        ("pull_request.head.repo.name", "widgets"),
        ("pull_request.head.repo.full_name", "acme/w*"),
        ("pull_request.labels.name", "bug"),
        ("pull_request.requested_teams.slug", "Core-Team"),
        ("label.name", "BUG"),
        ("repositories_added.full_name", "acme/widgets"),
        ("repositories_added.name", "widgets"),
        ("changes.repository.name.from", "gadgets"),
        ("environment", "production"),
        ("deployment.environment", "production"),
    ],
)
def test_a_name_that_github_takes_in_any_case_matches_in_any_case(path: str, expected: Expected) -> None:
    assert payload_matches(PAYLOAD, {path: expected})
    assert not payload_matches(PAYLOAD, {path: "somebody else's"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("action", "Labeled"),
        ("ref", "refs/heads/main"),
        ("repository.default_branch", "main"),
        ("repository.description", "widgets"),
        ("sender.type", "user"),
        ("pusher.email", "octocat@example.com"),
        ("commits.author.name", "mona octocat"),
        ("commits.added", "readme.md"),
        ("label.color", "ff0000"),
        ("pull_request.title", "mend it"),
        ("pull_request.head.ref", "feature"),
        ("pull_request.head.label", "acme:feature"),
        ("changes.title.from", "mend it"),
        ("client_payload.login", "octocat"),
        ("client_payload.repository.name", "widgets"),
        ("deployment.payload.environment", "production"),
        ("repository.custom_properties.environment", "production"),
        ("workflow.name", "build"),
        ("milestone.title", "first"),
    ],
)
def test_what_is_no_such_name_matches_as_it_is_written(path: str, expected: str) -> None:
    assert not payload_matches(PAYLOAD, {path: expected})
    assert payload_matches(PAYLOAD, {path: "*"})
