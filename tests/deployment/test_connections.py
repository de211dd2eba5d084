"""How many connections to PostgreSQL a running worker and a relay hold, against what `check_deploy` counts."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployments import deployment
from tests.support.processes import ROOT, wait_until
from tests.support.stack import Stack, running_stack
from workers.deployment.capacity import DISPATCHER_CONNECTIONS, connections
from workers.deployment.manifests import Manifest, workloads

CHILDREN = 3
USES_NO_DATABASE: dict[str, object] = {"annotations": {"hookline/database-connections": str(DISPATCHER_CONNECTIONS)}}

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path, database="postgres", broker="rabbitmq") as stack:
        stack.manage("migrate", "-v0")
        stack.start("receiver")
        start(stack, "relay")
        stack.wait_until_ready()
        yield stack


def start(stack: Stack, role: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a role whose connections have its name."""
    return stack.start(role, *arguments, DATABASE_URL=f"{stack.database_url}?application_name={role}")


def held_by(stack: Stack, role: str) -> int:
    [(count,)] = stack.rows(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{role}'")
    return int(count)


def counted(role: str, *, children: int = CHILDREN, metadata: dict[str, object] | None = None) -> int:
    manifest = deployment(role, 8001)
    manifest["spec"]["template"]["metadata"] = metadata or {}
    if role == "worker":
        manifest["spec"]["template"]["spec"]["containers"][0]["args"] += ["--concurrency", str(children)]
    [workload] = workloads([Manifest("rendered.yaml", manifest)])
    return connections(workload)


def test_a_worker_holds_two_connections_and_a_child_none_while_its_handler_uses_no_database(stack: Stack) -> None:
    worker = start(stack, "worker", "--concurrency", str(CHILDREN))
    for _ in range(CHILDREN):
        assert stack.send("watch", padding="x" * 100_000)[0] == 202  # Too large to come with the claim.
    wait_until(lambda: len(stack.marks()) == CHILDREN, what="every child to run a handler")
    # One for jobs, and one for what the worker reports and its probes ask.
    wait_until(
        lambda: held_by(stack, "worker") == counted("worker", metadata=USES_NO_DATABASE),
        what="no connection but the dispatcher's",
    )
    assert held_by(stack, "relay") == counted("relay")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert stack.states() == {"succeeded": CHILDREN}


def test_a_child_keeps_a_connection_from_its_first_handler_that_uses_the_database(stack: Stack) -> None:
    start(stack, "worker", "--concurrency", str(CHILDREN))

    def every_child_has_run() -> bool:
        for _ in range(CHILDREN):
            stack.send("work", orm=True, seconds=0.2)
        stack.wait_until_drained()
        return len({line.split()[3] for line in stack.effects.read_text().splitlines()}) == CHILDREN

    wait_until(every_child_has_run, what="every child to have run a handler that uses the database")
    assert held_by(stack, "worker") == counted("worker")


def test_the_pages_say_what_five_pods_of_seventy_need() -> None:
    without, with_database = 5 * counted("worker", metadata=USES_NO_DATABASE), 5 * counted("worker", children=70)
    for page in ("docs/kubernetes.md", "docs/production.md"):
        text = " ".join((ROOT / page).read_text().split())
        assert f"five workers of 70 children need {without} connections, or {with_database} if all" in text, page
