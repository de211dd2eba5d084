"""Sends deliveries to a receiver: as many as it answers, or so many a second; and what came of it."""

import json
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import Any

from tests.support.processes import ROOT
from tests.support.stack import Stack
from webhooks.github import samples
from webhooks.github.signature import sign

SCRIPT = ROOT / "tests" / "benchmarks" / "deliveries.lua"
FILLING = "x" * 9_000
"""Makes a delivery as long as a push."""
EVENT, ACTION = "repository_dispatch", "sleep"


@dataclass(frozen=True, slots=True)
class Answered:
    """What wrk has seen: how many were sent and acknowledged, errors, latencies in ms."""

    seconds: float
    sent: int
    acknowledged: int
    errors: int
    p50: float
    p99: float
    most: float


def body_of(*, seconds_of_work: float = 0, **client_payload: Any) -> bytes:
    """Return GitHub's own example of a push with what the handler reads, as GitHub sends it: without blanks."""
    own = {"seconds": seconds_of_work, **client_payload}
    payload = samples.load("push") | {"action": ACTION, "client_payload": own}
    return json.dumps(payload, separators=(",", ":")).encode()


def send(stack: Stack, body: bytes, *, seconds: float, connections: int, a_second: float | None = None) -> Answered:
    """Have wrk post a body over so many connections, each time as a new delivery; at most so many `a_second`."""
    return answered(start_sending(stack, body, seconds=seconds, connections=connections, a_second=a_second))


def start_sending(
    stack: Stack, body: bytes, *, seconds: float, connections: int, a_second: float | None = None
) -> "subprocess.Popen[str]":
    program = shutil.which("wrk")
    assert program, "needs wrk: apt-get install wrk"
    file = stack.directory / f"body-{uuid.uuid4().hex[:8]}.json"
    file.write_bytes(body)
    url = f"http://127.0.0.1:{stack.port}/webhooks/github"
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
    arguments = [str(file), sign(body, stack.secret), EVENT, str(a_second or 0)]
    return subprocess.Popen(
        [program, *options, "-s", str(SCRIPT), url, "--", *arguments], stdout=subprocess.PIPE, text=True
    )


def answered(wrk: "subprocess.Popen[str]") -> Answered:
    output, _ = wrk.communicate()
    assert wrk.returncode == 0, output
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return Answered(
        seconds=told["seconds"],
        sent=int(told["requests"]),
        acknowledged=int(told["requests"] - told["refused"]),
        errors=int(told["refused"] + told["broken"]),
        p50=told["p50"],
        p99=told["p99"],
        most=told["most"],
    )


def send_timed(stack: Stack, *, seconds: float, a_second: float) -> None:
    """Send deliveries that say when they were sent, evenly, one after the other."""
    began = time.monotonic()
    for number in range(round(seconds * a_second)):
        time.sleep(max(0.0, began + number / a_second - time.monotonic()))
        status, answer = stack.send("clock", sent_at=time.time(), filling=FILLING)
        assert status == 202, answer
