"""`manage.py send_webhook`, against a real HTTP server."""

import hashlib
import hmac
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from webhooks.github import samples
from webhooks.github.event_names import EVENT_NAMES
from webhooks.github.sender import SAMPLE_HOOK_ID, Message, Sender, percentile

SECRET = "a secret of the test's own"
Answer = Callable[[int], tuple[int, bytes]]


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers as it is told by the number of the request."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.arrived_at: list[float] = []
        self.answer: Answer = lambda _number: (202, b"{}")
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/webhooks/github"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.lock:
            self.server.received.append((self.path, headers, body))
            self.server.arrived_at.append(time.perf_counter())
            number = len(self.server.received)
        status, answer = self.server.answer(number)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def send(*arguments: str) -> str:
    output = StringIO()
    call_command("send_webhook", *arguments, stdout=output)
    return output.getvalue()


def test_a_sample_is_sent_with_githubs_headers_and_a_signature_that_holds(receiver: Receiver) -> None:
    send("push", "--to", receiver.url, "--secret", SECRET)
    ((path, headers, body),) = receiver.received
    assert path == "/webhooks/github"
    assert json.loads(body) == samples.load("push")
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={expected}"
    assert headers["x-github-event"] == "push"
    assert headers["x-github-hook-id"] == str(SAMPLE_HOOK_ID)
    assert headers["x-github-hook-installation-target-type"] == "integration"
    assert headers["x-github-hook-installation-target-id"].isdecimal()
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("GitHub-Hookshot/")
    assert uuid.UUID(headers["x-github-delivery"])


def test_all_sends_one_of_each_sample(receiver: Receiver) -> None:
    output = send("all", "--to", receiver.url)
    assert sorted(headers["x-github-event"] for _, headers, _ in receiver.received) == samples.names()
    assert f"Sent {len(samples.names())} deliveries" in output


def test_the_sources_address_and_first_secret_are_the_default(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "HOOKLINE_PORT", receiver.server_port)
    monkeypatch.setattr(settings, "HOOKLINE_SECRETS", {"ghes": [SECRET, "an older secret"]})
    send("ping", "--source", "ghes", "--hook-id", "77")
    ((path, headers, body),) = receiver.received
    assert path == "/webhooks/ghes"
    assert headers["x-github-hook-id"] == "77"
    assert headers["x-hub-signature-256"] == Message.signed("ping", body, secret=SECRET).signature


def test_every_delivery_has_a_guid_of_its_own_unless_one_is_given(receiver: Receiver) -> None:
    send("ping", "--to", receiver.url, "--count", "6")
    assert len({headers["x-github-delivery"] for _, headers, _ in receiver.received}) == 6
    receiver.received.clear()
    guid = str(uuid.uuid4())
    send("ping", "--to", receiver.url, "--count", "3", "--repeat-guid", guid)
    assert [headers["x-github-delivery"] for _, headers, _ in receiver.received] == [guid] * 3


def test_a_payload_file_is_sent_byte_for_byte(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_bytes(b'{ "action":\n "created" }\n')
    send("star", "--payload", str(file), "--to", receiver.url)
    ((_, headers, body),) = receiver.received
    assert body == file.read_bytes()
    assert headers["x-github-event"] == "star"


def test_every_event_that_github_documents_may_be_sent(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text("{}")
    for name in sorted(EVENT_NAMES):
        send(name, "--payload", str(file), "--to", receiver.url)
    assert [headers["x-github-event"] for _, headers, _ in receiver.received] == sorted(EVENT_NAMES)


def test_the_summary_counts_answers_and_tells_latencies(receiver: Receiver) -> None:
    receiver.answer = lambda number: (200 if number % 4 == 0 else 202, b"{}")
    output = send("ping", "--to", receiver.url, "--count", "24")
    assert "Sent 24 deliveries in" in output
    assert "  200: 6\n  202: 18\n" in output
    for figure in ("p50", "p90", "p99", "max"):
        assert figure in output


def test_an_answer_that_is_not_2xx_fails_the_command_and_is_explained(receiver: Receiver) -> None:
    receiver.answer = lambda number: (
        (401, b'{"error": "The \x1b[31msignature does not match."}') if number == 2 else (202, b"")
    )
    output = StringIO()
    with pytest.raises(CommandError, match=r"1 of 3 got no 2xx answer\.") as raised:
        call_command("send_webhook", "ping", "--to", receiver.url, "--count", "3", "--concurrency", "1", stdout=output)
    assert raised.value.returncode == 1
    assert '  401: 1  {"error": "The [31msignature does not match."}' in output.getvalue()


def test_a_connection_that_breaks_is_counted_by_kind(receiver: Receiver) -> None:
    receiver.answer = lambda number: (0 if number == 1 else 202, b"")
    output = StringIO()
    with pytest.raises(CommandError, match="1 of 3"):
        call_command("send_webhook", "ping", "--to", receiver.url, "--count", "3", "--concurrency", "1", stdout=output)
    assert "no answer (connection lost): 1" in output.getvalue()


def test_an_answer_that_never_comes_is_a_timeout(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.github.sender.TIMEOUT_SECONDS", 0.1)
    answered = threading.Event()

    def stall(_number: int) -> tuple[int, bytes]:
        answered.wait(10)
        return 0, b""

    receiver.answer = stall
    report = Sender(receiver.url).send([Message.signed("ping", b"{}", secret=SECRET)])
    answered.set()
    assert report.errors == {"timeout": 1}
    assert list(report.lines())[1:] == ["  no answer (timeout): 1"]


def test_a_name_that_does_not_resolve_is_no_connection() -> None:
    report = Sender("http://receiver.invalid/webhooks/github").send([Message.signed("ping", b"{}", secret=SECRET)])
    assert report.errors == {"no connection": 1}


def test_a_refused_connection_is_one_sentence_and_stops_at_once(closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}/webhooks/github"
    with pytest.raises(CommandError, match=f"Nobody listens at {url}; is the receiver running"):
        send("ping", "--to", url, "--count", "1000000")


def test_a_rate_paces_the_deliveries_without_waiting_for_answers(receiver: Receiver) -> None:
    released = threading.Event()

    def hold(number: int) -> tuple[int, bytes]:
        if number == 6:
            released.set()
        assert released.wait(10)
        return 202, b"{}"

    receiver.answer = hold
    message = Message.signed("ping", b"{}", secret=SECRET)
    report = Sender(receiver.url, concurrency=6).send([message], count=6, rate=20)
    assert report.accepted == 6
    assert receiver.arrived_at[-1] - receiver.arrived_at[0] >= 0.2
    # The first had to wait for the sixth, which was due a quarter of a second later.
    assert max(report.latencies) >= 0.2


def test_progress_is_told_once_a_delivery(receiver: Receiver) -> None:
    told: list[None] = []
    message = Message.signed("ping", b"{}", secret=SECRET)
    Sender(receiver.url, concurrency=4).send([message], count=9, progress=lambda: told.append(None))
    assert len(told) == 9


@pytest.mark.parametrize("rate", [[], ["--rate", "0.01"]])
def test_an_interruption_stops_the_threads_and_still_summarises(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, rate: list[str]
) -> None:
    def interrupt(_thread: threading.Thread, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    output = StringIO()
    monkeypatch.setattr("webhooks.github.sender.threading.Thread.join", interrupt)
    with pytest.raises(CommandError, match="of 1,000,000 got no 2xx answer"):
        call_command(
            "send_webhook", "ping", "--to", receiver.url, "--count", "1000000", *rate, stdout=output, stderr=output
        )
    monkeypatch.undo()
    assert "Interrupted." in output.getvalue()
    for thread in threading.enumerate():
        if thread.name.startswith("sender-"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope"], "There is no sample of 'nope'; there is installation, .*, push, repository and all"),
        (["ping", "--rate", "0"], "--rate must be"),
        (["ping", "--rate", "nan"], "--rate must be"),
        (["ping", "--rate", "inf"], "--rate must be"),
        (["ping", "--count", "0"], "--count and --concurrency must be"),
        (["ping", "--concurrency", "0"], "--count and --concurrency must be"),
        (["ping", "--source", "nowhere"], "Source 'nowhere' has no secret here"),
        (["ping", "--to", "ftp://127.0.0.1/"], "--to must be a URL"),
        (["ping", "--to", "http://127.0.0.1:port/"], "--to must be a URL"),
        (["ping", "--to", "http://user:word@127.0.0.1/"], "--to must be a URL"),
        (["ping", "--payload", "absent.json"], "absent.json cannot be read: No such file or directory"),
        (["all", "--payload", "absent.json"], "give the name of one event"),
    ],
)
def test_a_mistake_is_one_clear_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence) as raised:
        send(*arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_payload_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "payload.json"
    file.write_bytes(content)
    with pytest.raises(CommandError, match=r"payload\.json cannot be sent: The payload"):
        send("push", "--payload", str(file))


def test_the_secret_is_shown_nowhere(receiver: Receiver, closed_port: int) -> None:
    receiver.answer = lambda _number: (401, b"{}")
    shown = StringIO()
    for port in (receiver.server_port, closed_port):
        with pytest.raises(CommandError) as raised:
            call_command(
                "send_webhook",
                "ping",
                "--secret",
                SECRET,
                "--to",
                f"http://127.0.0.1:{port}/",
                stdout=shown,
                stderr=shown,
            )
        assert SECRET not in str(raised.value)
    assert SECRET not in shown.getvalue()
    assert SECRET not in repr(receiver.received)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10)])
def test_a_percentile_is_the_value_of_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], share) == expected
    assert percentile([4], share) == 4
