"""Every role and command of Hookline on one pair of database and broker, by the Python that runs this."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import urllib3
import yaml

from tests.support import services
from tests.support.github.server import GitHub, serving
from tests.support.processes import ROOT, environment, free_port, wait_until
from tests.support.stack import Stack, fresh_broker, fresh_postgres, http

PAIRS = [(database, broker) for database in ("sqlite", "postgres") for broker in ("filesystem", "rabbitmq", "redis")]
OUTCOMES = {"work": "succeeded", "fail-once": "succeeded", "give-up": "dead"}
"""How the job of each action of tests/trial ends."""
STOP_SECONDS = 60
MISSED = {"action": "work", "client_payload": {}, "repository": {"full_name": "acme/widgets"}}
"""What GitHub alone has. The reconciler takes it in."""
RECOVERED = "SELECT j.state FROM webhooks_recovery r JOIN webhooks_job j ON j.delivery_id = r.delivery_id"


def needed_services(database: str, broker: str) -> set[str]:
    return {database, broker} & services.URLS.keys()


def drive(directory: Path, *, database: str, broker: str) -> None:
    """Start every role, have deliveries run to their outcomes, run every command, and stop every role."""
    with contextlib.ExitStack() as cleanup:
        database_url = cleanup.enter_context(fresh_postgres()) if database == "postgres" else ""
        stack = Stack(directory, database_url, cleanup.enter_context(fresh_broker(broker)))
        cleanup.callback(stack.stop_all)
        try:
            _drive(stack, cleanup.enter_context(serving(GitHub())))
        except BaseException:
            print(stack.logs())
            raise


def _drive(stack: Stack, github: GitHub) -> None:
    stack.manage("check")
    stack.start_all()
    flower_port = free_port()
    stack.start("flower", HOOKLINE_FLOWER_PORT=str(flower_port))
    github.hook().add("repository_dispatch", MISSED)
    stack.start("reconcile", "--watch", **github.variables())
    wait_until(lambda: _status(flower_port, "/healthcheck") == 200, what="Flower to answer")
    assert _status(stack.port, "/sign-in/") == 200
    for action in OUTCOMES:
        assert stack.send(action)[0] == 202
    stack.manage("send_webhook", "push")
    stack.wait_until_drained()
    wait_until(lambda: stack.rows(RECOVERED) == [("succeeded",)], what="what GitHub alone had to be run")
    query = "SELECT d.action, j.state FROM webhooks_job j JOIN webhooks_delivery d ON d.id = j.delivery_id"
    assert dict(stack.rows(f"{query} WHERE j.queue = 'trial'")) == OUTCOMES
    assert "succeeded" in stack.manage("inbox")
    stack.manage("prune")
    stack.manage("check_deploy", str(_manifests(stack.directory)))
    assert "1 worker asked to stop" in stack.manage("stop_workers", "--wait")
    _stop(stack)


def _stop(stack: Stack) -> None:
    """Hold that the worker has left as it was told, and that the others do so on SIGTERM."""
    for role, process in stack.processes:
        if role != "worker":
            process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0, f"{role} ended with {process.returncode}"
    assert not re.search(r"(ModuleNotFound|Import)Error", stack.logs())


def _manifests(directory: Path) -> Path:
    """Write a receiver as the base has it, which the check finds nothing wrong with."""
    base = ROOT / "deploy" / "kubernetes" / "base"
    lines = [line for line in (base / "config.env").read_text().splitlines() if not line.startswith("#")]
    told = dict(line.split("=", 1) for line in lines)
    config = {"kind": "ConfigMap", "metadata": {"name": "hookline-config"}, "data": told}
    file = directory / "rendered.yaml"
    file.write_text(f"{yaml.safe_dump(config)}---\n{(base / 'receiver-deployment.yaml').read_text()}")
    return file


def start_everything_at_once(directory: Path) -> None:
    """Run what `make run` runs until it says where to look, and stop it as Ctrl-C does."""
    ports = {"HOOKLINE_PORT": free_port(), "HOOKLINE_FLOWER_PORT": free_port()}
    output = directory / "quickstart.log"
    with output.open("wb") as log:
        command = [sys.executable, "-m", "deploy.quickstart"]
        settings = environment(HOOKLINE_DATA_DIR=directory / "data", **ports)
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: "Ctrl-C" in output.read_text() or process.poll() is not None, what="the quickstart to be up")
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0, output.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _status(port: int, path: str) -> int:
    try:
        return http.request("GET", f"http://127.0.0.1:{port}{path}", timeout=5).status
    except urllib3.exceptions.HTTPError:
        return 0
