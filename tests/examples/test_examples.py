"""The examples: their own tests, as somebody runs them who has copied one, and one of them with a real worker."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import ROOT, run_module, wait_until
from tests.support.stack import running_stack

EXAMPLES = ROOT / "examples"
APPS = sorted(path.parent.name for path in EXAMPLES.glob("*/handlers.py"))


def test_the_examples_own_tests_pass() -> None:
    done = run_module("deploy.app_tests", ",".join(APPS), EXAMPLES, "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_on_the_examples_names_each_of_them() -> None:
    page = (EXAMPLES / "README.md").read_text()
    assert APPS == ["chat", "greeting", "merges", "reports"]
    assert all(f"| `{app}` |" in page for app in APPS)


@pytest.mark.slow
def test_a_report_gives_way_to_a_stop_and_is_written_by_the_next_worker(tmp_path: Path) -> None:
    own = {"HOOKLINE_APPS": "reports", "PYTHONPATH": str(EXAMPLES)}
    with running_stack(tmp_path, database="sqlite", broker="filesystem", **own) as stack:
        stack.migrate()
        stack.start("receiver")
        stack.start("relay")
        worker = stack.start("worker", "--queues", "slow", "--concurrency", "1")
        stack.wait_until_ready()
        assert stack.send("report", pages=50)[0] == 202
        wait_until(lambda: stack.states()["running"], what="the report is being written")
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
        assert stack.rows("SELECT number, outcome FROM webhooks_attempt") == [(1, "retry_later")]
        stack.start("worker", "--queues", "slow", "--concurrency", "1")
        stack.wait_until_drained()
        assert stack.rows("SELECT state, attempt - budget_from_attempt, forgiven, result FROM webhooks_job") == [
            ("succeeded", 2, 1, "50 pages")
        ]
