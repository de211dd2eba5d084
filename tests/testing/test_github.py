"""The stand-in for `run.github` in users' tests, and the client that records what it does not write."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from githubkit.exception import RequestFailed

from tests.support.github.server import GitHub, serving
from webhooks import Event, Run, on
from webhooks.github_api import sharing
from webhooks.github_api.recording import Call, recording_client
from webhooks.testing import event, run_handler
from webhooks.testing.github import FakeGitHub

FILES = "GET /repos/acme/widgets/pulls/7/files"
OPENED: dict[str, Any] = {"number": 7, "repository": {"full_name": "acme/widgets"}}


Handler = Callable[[Event, Run], str | None]


@pytest.fixture
def comment() -> Handler:
    """A handler that comments."""

    @on("pull_request", uses_api=True)
    def comment(event: Event, run: Run) -> str:
        made = run.github.rest.issues.create_comment("acme", "widgets", event.payload["number"], body="Thanks!")
        return str(made.json()["id"])

    return comment


@pytest.fixture
def label() -> Handler:
    """A handler that labels by the paths that it reads."""

    @on("pull_request", uses_api=True)
    def label(event: Event, run: Run) -> str:
        issues, number = run.github.rest.issues, event.payload["number"]
        files = run.github.request("GET", f"/repos/acme/widgets/pulls/{number}/files").json()
        issues.add_labels("acme", "widgets", number, labels=[file["filename"].partition("/")[0] for file in files])
        return f"{len(files)} labels"

    return label


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as running:
        yield running
    sharing.close()


def test_it_answers_by_the_table_and_records_what_it_is_asked(label: Handler) -> None:
    github = FakeGitHub({FILES: [{"filename": "docs/a.md"}]})
    outcome = run_handler(label, event("pull_request", **OPENED), github=github)
    assert (outcome.kind, outcome.message) == ("succeeded", "1 labels")
    assert [call.method for call in github.calls] == ["GET", "POST"]
    assert github.calls[-1] == Call("POST", "/repos/acme/widgets/issues/7/labels", {"labels": ["docs"]})


def test_what_is_not_in_the_table_is_missing_if_it_is_read_and_succeeds_if_it_is_written(
    label: Handler, comment: Handler
) -> None:
    github = FakeGitHub()
    assert run_handler(label, event("pull_request", **OPENED), github=github).kind == "failed"
    assert run_handler(comment, event("pull_request", **OPENED), github=github).message == "2"
    refused = FakeGitHub({"POST /repos/acme/widgets/issues/7/comments": (422, {"message": "Validation Failed"})})
    assert run_handler(comment, event("pull_request", **OPENED), github=refused).kind == "failed"


def test_a_limit_puts_the_run_off(comment: Handler) -> None:
    outcome = run_handler(comment, event("pull_request", **OPENED), github=FakeGitHub(is_limited=True))
    assert (outcome.kind, outcome.is_put_off, outcome.after_seconds) == ("retry_later", True, 70.0)


def test_without_a_stand_in_there_is_no_client(comment: Handler) -> None:
    outcome = run_handler(comment, event("pull_request", **OPENED))
    assert (outcome.kind, outcome.message) == ("gave_up", "Nothing has given this run a client of GitHub's API.")


def test_a_recording_client_reads_and_does_not_write(github: GitHub, settings: Any, comment: Handler) -> None:
    settings.HOOKLINE_GITHUB_ACCESS = {"github": github.access()}
    repository = github.installation().add("acme/widgets", files={"README.md": "Widgets"})
    recording = recording_client("github", 7)
    assert recording.client.request("GET", "/repos/acme/widgets/contents/README.md").json()["size"] == 7
    outcome = comment(event("pull_request", **OPENED), Run(1, lambda: False, lambda: recording.client))
    assert outcome is not None
    assert outcome.isdecimal()
    assert recording.client.request("DELETE", "/repos/acme/widgets/labels/a").status_code == 204
    assert recording.calls == [
        Call("POST", "/repos/acme/widgets/issues/7/comments", {"body": "Thanks!"}),
        Call("DELETE", "/repos/acme/widgets/labels/a"),
    ]
    assert repository.comments == {}
    assert {verb for verb, path in github.calls if "access_tokens" not in path} == {"GET"}


@pytest.mark.parametrize(
    "query",
    [
        "mutation { a }",
        "# why\nmutation A { a }",
        "fragment F on Issue { id } mutation A { a }",
        "query A { a } mutation B { b }",
        ["mutation { a }"],
    ],
)
def test_a_mutation_is_recorded_wherever_it_stands(github: GitHub, query: Any) -> None:
    recording = recording_client("ghes", None, api_url=github.url, token="ghp_of_a_person")
    recording.client.request("POST", "/graphql", json={"query": query})
    assert [call.path for call in recording.calls] == ["/graphql"]
    assert github.calls == []


def test_a_query_passes(github: GitHub) -> None:
    recording = recording_client("ghes", None, api_url=github.url, token="ghp_of_a_person")
    with pytest.raises(RequestFailed):  # The stand-in has no GraphQL.
        recording.client.request("POST", "/graphql", json={"query": "query { viewer { login } }"})
    assert github.calls == [("POST", "/graphql")]
    assert recording.calls == []


def test_only_a_call_for_the_apps_own_token_is_no_write(github: GitHub) -> None:
    recording = recording_client("ghes", None, api_url=github.url, token="ghp_of_a_person")
    recording.client.request("POST", "/repos/acme/widgets/access_tokens", json={})
    assert [call.path for call in recording.calls] == ["/repos/acme/widgets/access_tokens"]
    assert github.calls == []
