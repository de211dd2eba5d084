"""The client that a run gets, over HTTP, against the stand-in."""

import os
import re
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from githubkit.exception import RequestError, RequestFailed

from tests.support.github.installations import Installation
from tests.support.github.limits import Fault, secondary_limit
from tests.support.github.server import GitHub, serving
from webhooks import LimitReached, NoGitHubAccess, Run
from webhooks.github_api import sharing
from webhooks.github_api.runs import ApiOfRun
from webhooks.github_api.tokens import TokenError

FILE = "/repos/acme/widgets/contents/README.md"


def api(source: str = "github", number: int | None = 7, *, seconds: float = 30.0, is_replay: bool = False) -> ApiOfRun:
    return ApiOfRun(source, number, is_replay=is_replay, until=time.monotonic() + seconds)


def run(**values: Any) -> Run:
    return Run(attempt=1, stopping=lambda: False, open_github=api(**values).open)


@pytest.fixture
def repository(installation: Installation) -> Installation:
    installation.add("acme/widgets", files={"README.md": "Widgets"}, changed={1: ["docs/a.md"]})
    return installation


def test_calls_are_made_as_the_installation_with_one_token_for_many_runs(repository: Installation) -> None:
    for _ in range(3):
        client = run().github
        assert client.request("GET", FILE).json()["size"] == 7
        made = client.rest.issues.create_comment("acme", "widgets", 1, body="Thanks!")
        assert made.parsed_data.body == "Thanks!"
    assert repository.minted == 1
    assert [comment["body"] for comment in repository.repositories[0].comments[1]] == ["Thanks!"] * 3


def test_every_page_of_a_list_is_read(repository: Installation) -> None:
    for number in range(250):
        repository.add(f"acme/more-{number}")
    client = run().github
    pages = client.rest.paginate(
        client.rest.apps.list_repos_accessible_to_installation,
        map_func=lambda page: page.json()["repositories"],
        per_page=100,
    )
    assert len({one["full_name"] for one in pages}) == 251


def test_a_token_is_replaced_before_it_ends_and_after_it_was_revoked(github: GitHub, repository: Installation) -> None:
    run().github.request("GET", FILE)
    repository.tokens.clear()
    run().github.request("GET", FILE)
    assert repository.minted == 2
    sharing.shared().put("token", f"{github.url} {github.app.number} 7", b"ghs_ended", seconds=-1)
    run().github.request("GET", FILE)
    assert repository.minted == 3


def test_an_answer_that_still_holds_costs_no_call_and_is_read_from_the_worker_s_own(repository: Installation) -> None:
    first = run().github.request("GET", FILE)
    used = repository.limit.used
    again = run().github.request("GET", FILE)
    assert (again.json(), again.status_code, repository.limit.used) == (first.json(), 200, used)
    assert again.headers["x-ratelimit-remaining"] == str(repository.limit.limit - used)
    repository.repositories[0].files["README.md"] = "Gadgets!"
    assert run().github.request("GET", FILE).json()["size"] == 8


def test_what_is_shared_is_private_and_unreadable_on_the_disk(github: GitHub, repository: Installation) -> None:
    run().github.request("GET", FILE)
    directory = sharing.shared().directory
    files = list(directory.iterdir())
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert not any(b"ghs_" in file.read_bytes() or b"README" in file.read_bytes() for file in files)
    sharing.close()
    assert not directory.exists()


def test_the_answers_that_are_kept_have_a_bound() -> None:
    kept = sharing.shared()
    for number in range(40):
        kept.put("answer", str(number), b"x" * 1000, seconds=60)
        kept.limit("answer", most=10_000)
    size = sum(file.stat().st_size for file in kept.directory.iterdir())
    assert size <= 12_000
    assert kept.get("answer", "39") == b"x" * 1000
    assert kept.get("answer", "0") is None


def test_a_directory_of_a_killed_worker_is_removed_and_that_of_a_running_one_is_not(tmp_path: Path) -> None:
    running = sharing.Shared()
    left = running.directory.with_name(f"{sharing.PREFIX}left")
    left.mkdir()
    sharing.prepare()
    assert running.directory.exists()
    assert not left.exists()
    running.close()


@pytest.mark.parametrize("fault", [Fault(status=502), Fault(is_dropped=True)], ids=["an error", "no answer"])
def test_a_read_is_tried_again_and_a_comment_is_not_written_twice(
    github: GitHub, repository: Installation, fault: Fault
) -> None:
    run().github.request("GET", FILE)
    fault.times = 2
    github.faults.append(fault)
    assert run().github.request("GET", f"{FILE}?ref=main").status_code == 200
    fault.times, fault.only = 1, "comments"
    client = run().github
    with pytest.raises(RequestError):
        client.rest.issues.create_comment("acme", "widgets", 1, body="Thanks!")
    assert len(github.asked("comments", method="POST")) == 1


def test_a_token_is_asked_for_again_after_an_error_of_the_server_s(github: GitHub, repository: Installation) -> None:
    github.faults.append(Fault(status=500, only="access_tokens", times=2))
    assert run().github.request("GET", FILE).status_code == 200


def test_tries_end_with_the_run_s_time(github: GitHub, repository: Installation) -> None:
    github.faults.append(Fault(status=500, only="contents", times=100))
    with pytest.raises(RequestFailed):
        run().github.request("GET", FILE)
    most = len(github.asked("contents"))
    with pytest.raises(RequestFailed):
        run(seconds=0.0).github.request("GET", FILE)
    assert (most, len(github.asked("contents")) - most) == (4, 1)


def test_a_silent_api_is_waited_for_no_longer_than_the_run_has(github: GitHub, repository: Installation) -> None:
    run().github.request("GET", FILE)
    github.faults.append(Fault(silent_seconds=20.0, only="ref=slow", times=9))
    began = time.monotonic()
    with pytest.raises(RequestError):
        run(seconds=0.5).github.request("GET", f"{FILE}?ref=slow")
    assert time.monotonic() - began < 15


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_a_primary_limit_puts_the_run_off_until_its_reset_and_makes_no_further_call(
    github: GitHub, repository: Installation
) -> None:
    repository.limit.limit, repository.limit.reset_at = 1, time.time() + 1_800
    first = api()
    first.open().request("GET", FILE)
    with pytest.raises(LimitReached, match=r"^GitHub's rate limit of installation 7 is reached until ") as raised:
        first.open().request("GET", f"{FILE}?ref=main")
    assert 1_700 < raised.value.after_seconds < 1_820
    assert first.seen is not None
    assert (first.seen.remaining, first.seen.most) == (0, 1)
    assert 1_700 < first.seen.closed_seconds < 1_810
    asked = len(github.calls)
    with pytest.raises(LimitReached):
        run().github.request("GET", FILE)
    assert len(github.calls) == asked, "Another run of the worker knows of it."


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_puts_the_run_off_for_as_long_as_github_asks(
    github: GitHub, repository: Installation, status: int
) -> None:
    github.faults.append(secondary_limit(seconds=90, status=status, only="contents"))
    called = api()
    with pytest.raises(LimitReached) as raised:
        called.open().request("GET", FILE)
    assert 89 <= raised.value.after_seconds <= 101
    assert called.seen is not None
    assert called.seen.closed_seconds > 85


def test_a_limit_without_a_number_asks_for_a_minute(github: GitHub, repository: Installation) -> None:
    github.faults.append(Fault(status=429, headers={"retry-after": "soon"}, only="contents"))
    with pytest.raises(LimitReached) as raised:
        run().github.request("GET", FILE)
    assert 59 <= raised.value.after_seconds <= 71


def test_a_limit_of_another_resource_says_nothing_of_other_calls(github: GitHub, repository: Installation) -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-resource": "search"}
    github.faults.append(Fault(status=403, headers=headers, only="search"))
    called = api()
    with pytest.raises(LimitReached):
        called.open().request("GET", "/search/issues?q=is:open")
    assert run().github.request("GET", FILE).status_code == 200


def test_a_refusal_that_is_no_limit_is_the_handler_s_to_see(github: GitHub, repository: Installation) -> None:
    github.faults.append(Fault(status=403, message="Resource not accessible by integration", only="contents"))
    with pytest.raises(RequestFailed) as raised:
        run().github.request("GET", FILE)
    assert raised.value.response.status_code == 403


def test_a_replayed_job_leaves_a_fifth_to_live_webhooks(github: GitHub, repository: Installation) -> None:
    repository.limit.limit, repository.limit.used = 100, 79
    replayed, live = run(is_replay=True), run()
    replayed.github.request("GET", FILE)
    with pytest.raises(LimitReached, match="has only what is kept for live webhooks left"):
        replayed.github.request("GET", f"{FILE}?ref=main")
    assert live.github.request("GET", f"{FILE}?ref=main").status_code == 200


# --- Where, and as whom -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("repository")
def test_each_source_s_api_is_called_at_its_own_address(settings: Any) -> None:
    with serving(GitHub(app=12, prefix="/api/v3")) as server:
        server.installation().add("acme/widgets", files={"README.md": "On our own server"})
        app = {"api_url": server.url, "app_id": "12", "private_key": server.app.private_key}
        settings.HOOKLINE_GITHUB_ACCESS = {**settings.HOOKLINE_GITHUB_ACCESS, "ghes": app}
        assert run(source="ghes").github.request("GET", FILE).json()["size"] == 17
        assert run().github.request("GET", FILE).json()["size"] == 7
        assert all(path.startswith("/api/v3/") for path in server.asked())


def test_without_a_key_or_an_installation_the_error_says_so(settings: Any, installation: Installation) -> None:
    with pytest.raises(NoGitHubAccess, match=r"this event names none: it is no App's hook\.$"):
        _ = run(number=None).github
    settings.HOOKLINE_GITHUB_ACCESS = {"ghes": {"api_url": "https://ghes", "app_id": "", "private_key": ""}}
    with pytest.raises(NoGitHubAccess, match="needs GITHUB_APP_ID_GHES and GITHUB_APP_PRIVATE_KEY_GHES"):
        _ = run(source="ghes").github
    with pytest.raises(NoGitHubAccess):
        _ = Run(attempt=1, stopping=lambda: False).github


def test_an_installation_that_is_gone_is_given_up(installation: Installation) -> None:
    with pytest.raises(NoGitHubAccess, match="no such installation of this App"):
        run(number=8).github.request("GET", FILE)


@pytest.mark.parametrize("key", ["", "-----BEGIN PRIVATE KEY-----\nMIIBVQ==\n-----END PRIVATE KEY-----\n"])
def test_no_error_shows_a_key_or_a_token(
    github: GitHub, repository: Installation, settings: Any, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    client = run().github
    client.request("GET", FILE)
    own = settings.HOOKLINE_GITHUB_ACCESS["github"]
    if key:
        settings.HOOKLINE_GITHUB_ACCESS = {"github": own | {"private_key": key}}
        sharing.close()
    github.faults += [Fault(status=404, only="contents"), Fault(status=401, only="access_tokens", times=9)]
    repository.tokens.clear()
    with pytest.raises((RequestFailed, TokenError)) as raised:
        run().github.request("GET", f"{FILE}?ref=main")
    shown = "".join(traceback.format_exception(raised.value)) + caplog.text + repr(client.auth) + repr(raised.value)
    assert not re.search(r"ghs_|MII|PRIVATE KEY|eyJ", shown), shown


def test_a_time_limit_in_the_middle_of_a_call_comes_out_as_it_is(
    github: GitHub, repository: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    def interrupted(*_: Any) -> httpx.Response:
        raise SoftTimeLimitExceeded

    client = run().github
    client.request("GET", FILE)
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        client.request("GET", FILE)


def test_processes_that_want_a_token_at_once_ask_for_one(github: GitHub, repository: Installation) -> None:
    """As the children of a worker do: forked, after the directory was made."""
    sharing.prepare()
    github.faults.append(Fault(silent_seconds=0.3, only="access_tokens"))
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            try:
                status = run().github.request("GET", FILE).status_code
                os._exit(0 if status == 200 else 1)
            finally:
                os._exit(2)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert (repository.minted, len(github.asked("access_tokens"))) == (1, 1)
