"""Granian's WSGI interface against our front on RSGI: requests a second, and what stalled bodies do to the others.

    python -m tests.benchmarks.receiver_front

Both serve the same empty WSGI application from one process with four threads. Clients keep their connections and send
bodies of 8 kB as fast as they are answered; then the same while sixteen other senders have stalled in mid-body.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from tests.support.processes import ROOT, free_port, wait_until

THREADS = 4
CLIENTS = 2
CONNECTIONS = 8
SECONDS = 5.0
STALLED = 16
BODY = b"x" * 8000
REQUEST = (
    b"POST /page HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
)
SERVERS = {
    "Granian WSGI": ["wsgi", "tests.benchmarks.receiver_front:empty", "--blocking-threads", str(THREADS)],
    "front on RSGI": ["rsgi", "--factory", "tests.benchmarks.receiver_front:front"],
}


def empty(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Read the body and answer with nothing: the WSGI application under both."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


def front() -> Any:
    """Return our front on the same application; its pages have four threads."""
    import django

    django.setup()
    from webhooks.receiver.connections import Connections
    from webhooks.receiver.front import Front
    from webhooks.receiver.views import deliveries, rules

    return Front(empty, rules=rules, deliveries=deliveries, body_seconds=60, connections=Connections(0))


@contextlib.contextmanager
def serving(arguments: list[str], directory: str) -> Iterator[int]:
    """One Granian process on a free port, killed at the end: with stalled bodies the WSGI one does not stop."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", *arguments, "--port", str(port), "--log-level", "error"]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "project.settings", "HOOKLINE_DATA_DIR": directory}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        wait_until(partial(answers, port), what="the server")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(REQUEST + BODY)
            return client.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def load(port: int) -> list[float]:
    """Ask over several connections in turn for SECONDS; return each answer's latency. A silent server ends it."""
    latencies: list[float] = []
    with contextlib.ExitStack() as open_sockets:
        clients = [
            open_sockets.enter_context(socket.create_connection(("127.0.0.1", port), timeout=2))
            for _ in range(CONNECTIONS)
        ]
        deadline = time.monotonic() + SECONDS
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline:
                for client in clients:
                    client.sendall(REQUEST + BODY)
                for client in clients:
                    began = time.perf_counter()
                    answer = b""
                    while not answer.endswith(b"{}"):
                        answer += client.recv(65536)
                    latencies.append(time.perf_counter() - began)
    return latencies


def measure(port: int) -> str:
    with ProcessPoolExecutor(CLIENTS) as clients:
        latencies = [latency for answered in clients.map(load, [port] * CLIENTS) for latency in answered]
    if len(latencies) < 2:
        return f"{'none answered':>14}"
    p99 = statistics.quantiles(latencies, n=100)[98] * 1000
    return f"{len(latencies) / SECONDS:>10,.0f}/s  {p99:>7.1f} ms"


def main() -> None:
    print(f"{'':<14}  {'nobody stalls':^24}  {f'{STALLED} bodies stalled':^24}")
    print(f"{'':<14}  {'answers':>12}  {'p99':>10}  {'answers':>12}  {'p99':>10}")
    for name, arguments in SERVERS.items():
        with (
            tempfile.TemporaryDirectory() as directory,
            serving(arguments, directory) as port,
            contextlib.ExitStack() as stalled,
        ):
            calm = measure(port)
            for _ in range(STALLED):
                client = stalled.enter_context(socket.create_connection(("127.0.0.1", port)))
                client.sendall(REQUEST + b"x")
            print(f"{name:<14}  {calm:<24}  {measure(port):<24}")


if __name__ == "__main__":
    main()
