"""A receiver's start and stop as its clients see them: the probes, the drain, a rolling replacement under load."""

import contextlib
import http.client
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.deliveries import PATH, headers_for
from tests.support.processes import manage, wait_until
from tests.support.receiver_process import BODY, PATIENCE, SECRET, Receiver, receiver_in, request
from tests.support.stack import fresh_postgres

CLIENTS = 6
PAUSE_SECONDS = 0.01
ROUNDS = 2
DRAIN_SECONDS = 2
TOO_SLOW = b"The inbox is not available"


def get(receiver: Receiver, path: str) -> tuple[int, dict[str, object]]:
    reply = receiver.ask(request("GET", path, b""))
    return reply.status, json.loads(reply.body)


def test_a_receiver_has_started_once_it_has_seen_its_migrations(tmp_path: Path) -> None:
    with receiver_in(tmp_path, is_migrated=False) as own:
        assert get(own, "/livez")[0] == 200
        for path in ("/startupz", "/readyz"):
            status, answer = get(own, path)
            assert (status, answer["faults"]) == (503, ["the database is not migrated; run manage.py migrate"])
        assert own.ask(request()).status == 503
        assert manage("migrate", "-v0", HOOKLINE_DATA_DIR=tmp_path).returncode == 0
        wait_until(lambda: get(own, "/startupz")[0] == 200, what="it has started")
        wait_until(lambda: get(own, "/readyz")[0] == 200, what="it is ready")
        wait_until(lambda: own.ask(request()).status == 202, what="a delivery is accepted")


def test_database_and_broker_stand_in_the_answer_and_in_the_metrics(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        status, answer = get(own, "/readyz")
        assert (status, answer["database"], answer["broker"]) == (200, "available", "available")
        told = own.ask(request("GET", "/metrics", b"")).body.decode()
        for name in ("database_available 1.0", "broker_available 1.0", "stopping 0.0"):
            assert f"\nhookline_receiver_{name}\n" in told
        assert "/readyz" not in own.log.read_text()


def test_a_drain_serves_on_not_ready_closing_connections_then_takes_no_new_one_and_exits_0(tmp_path: Path) -> None:
    with receiver_in(tmp_path, HOOKLINE_DRAIN_SECONDS=4) as own:
        kept, begun = own.connect(), own.stalled()
        assert kept.send(request()).reply().headers.get("connection") != "close"
        own.process.send_signal(signal.SIGTERM)
        wait_until(lambda: get(own, "/readyz")[0] == 503, what="it is not ready", seconds=3)
        assert get(own, "/livez")[0] == 200
        last = kept.send(request()).reply()
        assert (last.status, last.headers["connection"]) == (202, "close")
        assert own.ask(request()).status == 202
        wait_until(lambda: not own.listens(), what="it takes no new connection")
        assert begun.send(BODY).reply().status == 202
        assert own.process.wait(PATIENCE) == 0
        assert own.complaints() == []


# --- A rolling replacement --------------------------------------------------------------------------------------------


@dataclass
class Service:
    """What a Kubernetes Service does: new connections go to whoever is ready; open ones are left where they are."""

    ready: list[Receiver] = field(default_factory=list)
    turn: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_port(self) -> int:
        with self.lock:
            self.turn += 1
            return self.ready[self.turn % len(self.ready)].port

    def add(self, receiver: Receiver) -> None:
        wait_until(lambda: get(receiver, "/readyz")[0] == 200, what="the new receiver is ready")
        with self.lock:
            self.ready.append(receiver)

    def take_out_once_not_ready(self, receiver: Receiver) -> None:
        wait_until(lambda: get(receiver, "/readyz")[0] == 503, what="the old receiver is not ready")
        with self.lock:
            self.ready.remove(receiver)


class Client:
    """Sends one delivery after the other over a connection that it keeps for as long as it may."""

    def __init__(self, service: Service, is_over: threading.Event) -> None:
        self._service = service
        self._is_over = is_over
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.connections = 0

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._is_over.wait(PAUSE_SECONDS):
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self._service.next_port(), timeout=PATIENCE)
                    self.connections += 1
                connection.request("POST", PATH, BODY, headers_for(BODY, secret=SECRET))
                response = connection.getresponse()
                answer = response.read()
                # A commit that takes two seconds, as it may on a busy machine, is no matter of the replacement.
                if not (response.status == 503 and TOO_SLOW in answer):
                    self.statuses[response.status] += 1
                    if response.status != 202:
                        self.failures.append(f"{response.status} {answer.decode()}")
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
        if connection is not None:
            connection.close()


@contextlib.contextmanager
def clients_of(service: Service) -> Iterator[list[Client]]:
    is_over = threading.Event()
    clients = [Client(service, is_over) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


@pytest.mark.postgres
@pytest.mark.slow
def test_no_kept_alive_client_sees_a_reset_or_a_5xx_through_a_rolling_replacement(tmp_path: Path) -> None:
    exits: list[int] = []
    with fresh_postgres() as url, contextlib.ExitStack() as receivers:
        assert manage("migrate", "-v0", HOOKLINE_DATA_DIR=tmp_path, DATABASE_URL=url).returncode == 0

        def start(number: int) -> Receiver:
            directory = tmp_path / str(number)
            directory.mkdir(mode=0o700)
            settings = {"DATABASE_URL": url, "HOOKLINE_DRAIN_SECONDS": DRAIN_SECONDS, "is_migrated": False}
            return receivers.enter_context(receiver_in(directory, **settings))  # type: ignore[arg-type]

        service = Service()
        for number in range(2):
            service.add(start(number))
        with clients_of(service) as clients:
            for number in range(2, 2 + 2 * ROUNDS):
                service.add(start(number))
                old = service.ready[0]
                exits.append(replaced(old, service))
            wait_until(lambda: min(client.connections for client in clients) > 1, what="each client has moved on")
        assert [failure for client in clients for failure in client.failures] == []
        statuses = sum((client.statuses for client in clients), Counter())
        assert set(statuses) == {202}
        assert statuses[202] > CLIENTS
        assert exits == [0] * 2 * ROUNDS


def replaced(old: Receiver, service: Service) -> int:
    """Stop a receiver as kubelet does, while the Service follows its readiness; return its exit status."""
    process: subprocess.Popen[bytes] = old.process
    process.send_signal(signal.SIGTERM)
    service.take_out_once_not_ready(old)
    return process.wait(PATIENCE)


# --- Connections that are kept ----------------------------------------------------------------------------------------

KEEP_ALIVE_SECONDS = 6


def test_a_connection_outlives_the_idle_time_of_every_usual_proxy() -> None:
    assert settings.HOOKLINE_KEEP_ALIVE_SECONDS > 75 + 5


@pytest.mark.slow
def test_a_pooled_client_that_lets_go_before_the_limit_never_meets_a_closed_connection(tmp_path: Path) -> None:
    with receiver_in(tmp_path, HOOKLINE_KEEP_ALIVE_SECONDS=KEEP_ALIVE_SECONDS) as own:
        kept = [own.connect() for _ in range(8)]
        for _ in range(2):
            for connection in kept:
                assert connection.send(request()).reply().status == 202
            time.sleep(KEEP_ALIVE_SECONDS / 3)  # The wait is what is tried; the rest is a busy machine's.
        for connection in kept:
            assert connection.send(request()).reply().status == 202


@pytest.mark.slow
def test_a_request_is_answered_or_the_connection_was_closed_before_it(tmp_path: Path) -> None:
    """At and beyond the limit: an end is never met in place of the answer to a request that was taken in."""
    with receiver_in(tmp_path, HOOKLINE_KEEP_ALIVE_SECONDS=1) as own:
        answered = 0
        for idle_seconds in [0.5, *(0.95 + step / 50 for step in range(8)), 1.5]:
            connection = own.connect()
            assert connection.send(request()).reply().status == 202
            answered += 1
            time.sleep(idle_seconds)
            with contextlib.suppress(OSError, AssertionError):
                answered += connection.send(request()).reply().status == 202
        assert own.stop() == 0
        assert own.log.read_text().count("delivery stored") == answered
        assert own.complaints() == []


def test_headers_that_trickle_end_long_before_an_idle_connection_does(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        trickling, idle, unused = [own.connect() for _ in range(20)], own.connect(), own.connect()
        assert idle.send(request()).reply().status == 202
        for connection in trickling[10:]:  # Half of them after a request, half from the start.
            assert connection.send(request()).reply().status in (200, 202)

        def have_ended() -> bool:
            for connection in trickling:
                with contextlib.suppress(OSError):
                    connection.send(b"G")
            time.sleep(0.2)
            return not any(connection.is_silent for connection in trickling)

        wait_until(have_ended, what="every connection that trickles has ended", seconds=PATIENCE)
        assert idle.is_silent
        assert unused.send(request()).reply().status == 202
        assert idle.send(request()).reply().status == 202


def test_a_connection_on_which_nothing_comes_is_ended_in_the_end(tmp_path: Path) -> None:
    with receiver_in(tmp_path, HOOKLINE_KEEP_ALIVE_SECONDS=1) as own:
        unused, begun = own.connect(), own.connect().send(b"POST /webh")
        assert unused.ends()
        assert begun.ends()


@pytest.mark.slow
def test_a_body_that_takes_longer_than_headers_may_is_let_alone(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        slow = own.stalled()
        for place in range(len(BODY)):
            slow.send(BODY[place : place + 1])
            time.sleep(0.25)  # Of 54 bytes: beyond ten looks, and bytes come at each.
        assert slow.reply().status == 202
