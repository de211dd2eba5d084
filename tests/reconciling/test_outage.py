"""An outage of the receiver, made good through the real processes: what never arrived is taken in, and runs."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support.brokers import repeated
from tests.support.github.limits import Fault
from tests.support.github.log import Hook
from tests.support.github.server import GitHub
from tests.support.processes import free_port, wait_until
from tests.support.stack import Stack, http, running_stack

PAIRS = [
    repeated(("sqlite", "filesystem"), id="sqlite-filesystem"),
    pytest.param(("postgres", "rabbitmq"), id="postgres-rabbitmq", marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]
WORK = {"action": "work", "client_payload": {}, "repository": {"full_name": "acme/widgets"}}
EXPIRED = "UPDATE webhooks_hooklog SET lease_until = '2026-01-01 00:00:00+00:00' RETURNING id"
"""As if the time had passed for which a process that was killed still holds the log."""


@pytest.fixture(params=PAIRS)
def stack(request: pytest.FixtureRequest, github: GitHub, tmp_path: Path) -> Iterator[Stack]:
    database, broker = request.param
    with running_stack(tmp_path, database=database, broker=broker, **github.variables()) as stack:
        yield stack


@pytest.fixture
def sending(stack: Stack, github: GitHub) -> Hook:
    """The App's hook, which sends to the stack's receiver."""
    hook = github.hook(url=f"http://127.0.0.1:{stack.port}/webhooks/github")
    hook.secret = stack.secret
    hook.created_at = github.now()
    return hook


def reconciled(stack: Stack, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.manage("reconcile", "--format", "json", *arguments))
    return found


def hold_the_account(stack: Stack, events: int) -> None:
    """Every event is one delivery with one job, which has succeeded, and whose handler has run once."""
    stack.wait_until_drained()
    assert stack.rows("SELECT count(*), count(DISTINCT guid) FROM webhooks_delivery") == [(events, events)]
    assert stack.states() == {"succeeded": events}
    assert set(stack.marks().values()) == {1}
    assert len(stack.marks()) == events


def outage(stack: Stack, github: GitHub, sending: Hook, *, came: int, failed: int) -> dict[str, Any]:
    """Let some deliveries arrive and others find nobody; make good without a receiver, and with one see it is all."""
    stack.start_all()
    assert [sending.send("repository_dispatch", WORK).status_code for _ in range(came)] == [202] * came
    stack.stop_all("receiver")
    assert {sending.send("repository_dispatch", WORK).status_code for _ in range(failed)} == {502}
    github.calls.clear()
    began = time.monotonic()
    [done] = reconciled(stack)
    took = time.monotonic() - began
    assert (done["state"], done["recovered"], done["entries"]) == ("complete", failed, came + failed)
    assert done["calls"] == len(github.calls)
    hold_the_account(stack, came + failed)
    print(f"{failed:,} deliveries recovered in {took:.1f} s with {done['calls']:,} calls of the API")
    return done


def test_an_outage_is_made_good_while_no_receiver_is_there_and_each_job_runs_once(
    stack: Stack, github: GitHub, sending: Hook
) -> None:
    done = outage(stack, github, sending, came=20, failed=140)
    # Two pages, a body each, and when the App was made; and one body to learn the number of its hook.
    assert done["calls"] == 140 + 2 + 1 + 1
    stack.start("receiver")
    stack.wait_until_ready()
    again = sending.send_again(sending.entries()[0])
    assert again.status_code == 200, "A duplicate."
    [after] = reconciled(stack)
    assert (after["state"], after["recovered"]) == ("complete", 0)
    hold_the_account(stack, 160)


@pytest.mark.slow
@pytest.mark.parametrize("stack", PAIRS[1:], indirect=True)
def test_an_hour_of_outage_with_two_thousand_deliveries(stack: Stack, github: GitHub, sending: Hook) -> None:
    done = outage(stack, github, sending, came=10, failed=2_000)
    assert done["calls"] == 2_000 + 21 + 1 + 1


def test_a_pass_that_was_killed_is_gone_on_with_and_fetches_nothing_twice(
    stack: Stack, github: GitHub, sending: Hook
) -> None:
    stack.migrate()
    for _ in range(250):
        sending.send("repository_dispatch", WORK)
    github.faults.append(Fault(only="/deliveries/", silent_seconds=0.03, times=10_000))
    process = stack.start("reconcile")
    wait_until(lambda: _stored(stack) >= 130, what="the first page, and some of the second")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stored = _stored(stack)
    assert 130 <= stored < 250
    github.faults.clear()
    with pytest.raises(AssertionError):  # The one that was killed still holds the log.
        reconciled(stack)
    stack.rows(EXPIRED)
    first, second = reconciled(stack)
    assert (first["state"], first["recovered"], first["entries"]) == ("complete", 250, 250)
    assert (second["state"], second["recovered"]) == ("complete", 0)
    bodies = Counter(github.asked("/deliveries/"))
    assert sum(bodies.values()) - len(bodies) <= 2, "One was under way; one told the hook's number."
    stack.start("relay")
    stack.start("worker", "--concurrency", "4")
    hold_the_account(stack, 250)


def _stored(stack: Stack) -> int:
    return int(stack.rows("SELECT count(*) FROM webhooks_delivery")[0][0])


def test_two_that_watch_wait_for_the_tables_take_in_each_delivery_once_and_end_at_sigterm(
    stack: Stack, github: GitHub, sending: Hook
) -> None:
    for _ in range(120):
        sending.send("repository_dispatch", WORK)
    ports = free_port(), free_port()
    watching = [
        stack.start("reconcile", "--watch", HOOKLINE_RECONCILE_SECONDS="10", HOOKLINE_PROBE_PORT=str(port))
        for port in ports
    ]
    for port in ports:
        wait_until(partial(_has_started, port), what="its probes to be answered")
    wait_until(lambda: "is not migrated" in stack.logs(), what="one to miss the tables")
    assert [process.poll() for process in watching] == [None, None]
    stack.migrate()
    wait_until(lambda: _stored(stack) == 120, what="all to be recovered")
    sending.send("repository_dispatch", WORK)
    wait_until(lambda: _stored(stack) == 121, what="the one that failed meanwhile")
    wait_until(lambda: _figures(ports)["hookline_reconcile_deliveries_recovered_total"] == 121, what="it to be counted")
    assert {_status(port, "/readyz") for port in ports} == {200}
    for process in watching:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(30) for process in watching] == [0, 0]
    assert stack.rows("SELECT count(*) FROM webhooks_hooklog WHERE lease_until IS NOT NULL") == [(0,)]
    assert "Traceback" not in stack.logs()


def _status(port: int, path: str) -> int:
    try:
        return http.request("GET", f"http://127.0.0.1:{port}{path}", timeout=5).status
    except urllib3.exceptions.HTTPError:
        return 0


def _has_started(port: int) -> bool:
    return _status(port, "/startupz") == 200


def _figures(ports: tuple[int, ...]) -> Counter[str]:
    found: Counter[str] = Counter()
    for port in ports:
        for line in http.request("GET", f"http://127.0.0.1:{port}/metrics").data.decode().splitlines():
            if line.startswith("hookline_reconcile_") and "{" not in line:
                name, value = line.split()
                found[name] += int(float(value))
    return found
