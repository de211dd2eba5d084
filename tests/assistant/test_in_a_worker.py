"""The handlers that call GitHub's API, in a real worker, against the stand-in."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deliveries import PATH, headers_for
from tests.support.github.installations import Installation
from tests.support.github.server import GitHub, serving
from tests.support.probing import Probed
from tests.support.processes import free_port, wait_until
from tests.support.stack import Stack, http, running_stack
from webhooks.github import samples

PUSH = {"id": "c0ffee", "added": ["package.json"], "modified": ["requirements.txt", "src/a.py"], "removed": []}


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as running:
        yield running


@pytest.fixture
def installation(github: GitHub) -> Installation:
    number = samples.load("installation")["installation"]["id"]
    own = github.installation(number)
    own.add(
        "acme/widgets",
        files={"package.json": '{"dependencies": {"left-pad": "1"}}', "requirements.txt": "Django==5\n# why\nhttpx\n"},
        changed={7: ["docs/a.md", "tests/test_a.py", *(f"src/{n}.py" for n in range(150))]},
    )
    return own


@pytest.fixture
def stack(tmp_path: Path, github: GitHub) -> Iterator[Stack]:
    variables = {
        "HOOKLINE_APPS": "workers.catalog,workers.assistant",
        **github.variables(),
        "HOOKLINE_GITHUB_WRITES": "send",
        "TMPDIR": str(tmp_path),
    }
    with running_stack(tmp_path, database="sqlite", broker="filesystem", **variables) as stack:
        yield stack


def send(stack: Stack, event: str, installation: Installation, **values: Any) -> None:
    content = {"installation": {"id": installation.id}} | samples.load(event) | values
    if event != "installation":
        content["repository"] = content["repository"] | {"full_name": "acme/widgets"}
    body = json.dumps(content).encode()
    url = f"http://127.0.0.1:{stack.port}{PATH}"
    headers = headers_for(body, secret=stack.secret, event=event)
    assert http.request("POST", url, body=body, headers=headers, timeout=20).status == 202


def results(stack: Stack) -> dict[str, str]:
    return dict(stack.rows("SELECT handler, result FROM webhooks_job WHERE handler LIKE 'assistant.%'"))


def test_they_label_check_and_list_with_one_token_for_all_children(
    stack: Stack, github: GitHub, installation: Installation
) -> None:
    for number in range(130):
        installation.add(f"acme/more-{number}")
    stack.start_all(concurrency=3)
    send(stack, "installation", installation, action="created")
    send(stack, "pull_request", installation, action="opened", number=7)
    send(stack, "push", installation, deleted=False, commits=[PUSH], head_commit=PUSH, after="c0ffee")
    stack.wait_until_drained()
    assert results(stack) == {
        "assistant.label_by_paths": "#7: documentation, tests",
        "assistant.check_manifests": "2 manifests, 3 dependencies",
        "assistant.list_repositories": "Welcome: 131 repositories",
    }
    repository = installation.repositories[0]
    assert repository.labels == {7: ["documentation", "tests"]}
    [check] = repository.checks
    assert check["output"]["summary"] == "* `package.json`: left-pad\n* `requirements.txt`: django, httpx"
    assert stack.rows("SELECT count(*) FROM catalog_installationrepository")[0][0] >= 131
    assert installation.minted == 1
    assert stack.rows("SELECT installation_id, remaining > 4900 FROM webhooks_apilimit") == [(installation.id, 1)]
    stack.stop_all("worker")
    shown = stack.logs() + str(stack.rows("SELECT message, traceback FROM webhooks_attempt"))
    assert not any(token in shown for token in [*installation.tokens, "PRIVATE KEY"])


def test_a_limit_puts_the_run_off_without_an_attempt_and_others_run_on(
    stack: Stack, github: GitHub, installation: Installation
) -> None:
    installation.limit.limit, installation.limit.reset_at = 1, time.time() + 1_800
    stack.migrate()
    stack.start("receiver")
    stack.start("relay")
    probed = Probed(free_port())
    stack.start("worker", "--concurrency", "1", HOOKLINE_PROBE_PORT=str(probed.port))
    stack.wait_until_ready()
    send(stack, "pull_request", installation, action="opened", number=7)
    wait_until(lambda: stack.states()["retrying"], what="the run to be put off")
    assert probed.metric('hookline_worker_api_remaining{source="github"}') == 0
    assert probed.metric('hookline_worker_runs_put_off_total{handler="assistant.label_by_paths"}') == 1
    calls = len(github.calls)
    send(stack, "pull_request", installation, action="synchronize", number=7)
    send(stack, "push", installation, deleted=False, commits=[], head_commit=PUSH, after="c0ffee")
    wait_until(lambda: stack.states()["succeeded"] == 1, what="the catalog's own job to be done")
    waiting = "SELECT attempt - forgiven - budget_from_attempt FROM webhooks_job WHERE handler LIKE 'assistant.%'"
    moved = "SELECT count(*) FROM webhooks_job WHERE publish_at > (SELECT until FROM webhooks_apilimit)"
    wait_until(lambda: stack.rows(moved) == [(3,)], what="all three to wait for the reset")
    assert stack.rows(waiting) == [(0,)] * 3
    [(outcome, message)] = stack.rows("SELECT outcome, message FROM webhooks_attempt WHERE outcome <> 'succeeded'")
    assert outcome == "retry_later"
    assert message.startswith(f"GitHub's rate limit of installation {installation.id} is reached until ")
    assert len(github.calls) == calls


def test_without_a_key_they_do_nothing_and_say_so(stack: Stack, installation: Installation) -> None:
    del stack.environment["GITHUB_APP_PRIVATE_KEY"], stack.environment["GITHUB_APP_ID"]
    stack.start_all(concurrency=1)
    send(stack, "pull_request", installation, action="opened", number=7)
    stack.wait_until_drained()
    assert stack.states() == {"succeeded": 1}
    [result] = results(stack).values()
    assert result.startswith("nothing done: run.github needs GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY")
