"""Handlers that call GitHub's API in a real worker with several children, on PostgreSQL and RabbitMQ."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deliveries import PATH, headers_for
from tests.support.github.installations import Installation
from tests.support.github.limits import Fault, secondary_limit
from tests.support.github.server import GitHub, serving
from tests.support.processes import wait_until
from tests.support.stack import Stack, fresh_broker, fresh_postgres, http
from webhooks.github import samples

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq]

CHILDREN = 4
LIMITED, OTHER = 71, 72
COMMENT, COUNT = "commenting.comment", "commenting.count"


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as running:
        for number in (LIMITED, OTHER):
            running.installation(number).add("acme/widgets")
        yield running


@pytest.fixture
def stack(tmp_path: Path, github: GitHub) -> Iterator[Stack]:
    variables = {
        **github.variables(),
        "HOOKLINE_APPS": "tests.apps.trial,tests.apps.commenting",
        "HOOKLINE_GITHUB_WRITES": "send",
        "TMPDIR": str(tmp_path),
    }
    with fresh_postgres() as database_url, fresh_broker("rabbitmq") as broker_url:
        stack = Stack(tmp_path, database_url, broker_url, variables)
        try:
            stack.start_all(concurrency=CHILDREN)
            yield stack
        finally:
            print(stack.logs())
            stack.stop_all()


def open_pull_requests(stack: Stack, installation: int, numbers: range) -> None:
    """Send the delivery of each pull request of acme/widgets that is opened."""
    for number in numbers:
        content = samples.load("pull_request") | {"action": "opened", "number": number}
        content |= {"installation": {"id": installation}}
        content["repository"] = content["repository"] | {"full_name": "acme/widgets"}
        body = json.dumps(content).encode()
        headers = headers_for(body, secret=stack.secret, event="pull_request")
        url = f"http://127.0.0.1:{stack.port}{PATH}"
        assert http.request("POST", url, body=body, headers=headers, timeout=20).status == 202


def comments(installation: Installation) -> Counter[int]:
    """Return how many comments each pull request has."""
    [repository] = installation.repositories
    return Counter({number: len(made) for number, made in repository.comments.items()})


def states(stack: Stack, handler: str, installation: int) -> Counter[str]:
    query = (
        "SELECT state, count(*) FROM webhooks_job JOIN webhooks_delivery AS delivery ON delivery.id = delivery_id"
        f" WHERE handler = '{handler}' AND installation_id = {installation} GROUP BY state"
    )
    return Counter(dict(stack.rows(query)))


def outcomes(stack: Stack) -> list[str]:
    """Return how the runs of the job that calls the API ended, the first one first."""
    query = (
        "SELECT outcome FROM webhooks_attempt JOIN webhooks_job AS job ON job.id = job_id"
        f" WHERE handler = '{COMMENT}' ORDER BY number"
    )
    return [outcome for (outcome,) in stack.rows(query)]


def spent(stack: Stack) -> set[int]:
    """Return how many attempts of their budgets the jobs that wait have spent."""
    query = "SELECT attempt - forgiven - budget_from_attempt FROM webhooks_job WHERE state <> 'succeeded'"
    return {number for (number,) in stack.rows(query)}


def test_several_children_comment_with_one_token_that_nobody_writes_down(stack: Stack, github: GitHub) -> None:
    # While the first one waits for the token, the others come to want it, too.
    github.faults.append(Fault(silent_seconds=1.0, only="access_tokens"))
    installation, numbers = github.installation(LIMITED), range(1, 25)
    open_pull_requests(stack, LIMITED, numbers)
    stack.wait_until_drained()
    assert stack.states() == {"succeeded": 2 * len(numbers)}
    assert comments(installation) == dict.fromkeys(numbers, 1)
    children = {line.split()[3] for line in stack.effects.read_text().splitlines()}
    assert len(children) > 1
    assert installation.minted == len(github.asked("access_tokens")) == 1
    stack.stop_all("worker")
    written = stack.logs() + str(stack.rows("SELECT message, traceback FROM webhooks_attempt"))
    assert not any(secret in written for secret in [*installation.tokens, "PRIVATE KEY"])


def test_a_limit_puts_jobs_off_without_an_attempt_and_those_of_other_installations_run_on(
    stack: Stack, github: GitHub
) -> None:
    limited, other = github.installation(LIMITED), github.installation(OTHER)
    limited.limit.limit, limited.limit.reset_at = 0, time.time() + 1_800
    open_pull_requests(stack, LIMITED, range(1, 11))
    known = "SELECT count(*) FROM webhooks_apilimit WHERE until > now()"
    wait_until(lambda: stack.rows(known) == [(1,)], what="the limit to be known")
    wait_until(lambda: not states(stack, COMMENT, LIMITED)["running"], what="the end of what ran before")
    refused, runs = len(github.asked("comments")), len(outcomes(stack))
    open_pull_requests(stack, LIMITED, range(11, 21))
    open_pull_requests(stack, OTHER, range(21, 31))
    wait_until(lambda: states(stack, COMMENT, OTHER) == {"succeeded": 10}, what="the others' comments")
    wait_until(lambda: states(stack, COUNT, LIMITED) == {"succeeded": 20}, what="its jobs that call nothing")
    assert comments(other) == dict.fromkeys(range(21, 31), 1)
    assert not comments(limited)
    # Each child was refused once at most; the jobs that came later were not even begun.
    assert 1 <= refused <= CHILDREN
    assert len(github.asked("comments")) == refused + 2 * 10
    assert Counter(outcomes(stack)) == {"retry_later": runs, "succeeded": 10}
    assert states(stack, COMMENT, LIMITED).keys() <= {"queued", "retrying"}
    assert spent(stack) == {0}


def test_after_a_limit_the_job_runs_again_and_comments_once(stack: Stack, github: GitHub) -> None:
    github.faults.append(secondary_limit(seconds=1, only="comments"))
    open_pull_requests(stack, LIMITED, range(1, 2))
    stack.wait_until_drained()
    assert comments(github.installation(LIMITED)) == {1: 1}
    assert outcomes(stack) == ["retry_later", "succeeded"]
    assert stack.rows(f"SELECT attempt, forgiven FROM webhooks_job WHERE handler = '{COMMENT}'") == [(2, 1)]
