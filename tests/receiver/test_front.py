"""The front of the receiver, over raw sockets to the real process: bodies that stall, requests that are odd, stops."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deliveries import PATH, body_of, headers_for
from tests.support.processes import wait_until
from tests.support.receiver_process import BODY, PATIENCE, SECRET, THREADS, Receiver, receiver_in, request

STALLED = 60
MB = 1024 * 1024


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that waits long for a body, shared by the tests that leave it as it is."""
    with receiver_in(tmp_path_factory.mktemp("front")) as started:
        yield started


@pytest.fixture(autouse=True)
def closed_connections(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "receiver" in request.fixturenames:
        request.getfixturevalue("receiver").close()


# --- Bodies -----------------------------------------------------------------------------------------------------------


def test_more_stalled_bodies_than_threads_starve_nobody(receiver: Receiver) -> None:
    stalled = [receiver.stalled() for _ in range(STALLED)]
    assert len(stalled) > 10 * THREADS
    answers = [receiver.ask(request()).status for _ in range(20)]
    probes = [receiver.ask(request("GET", path, b"")).status for path in ("/livez", "/readyz", "/metrics")]
    assert answers == [202] * 20
    assert probes == [200] * 3
    assert all(connection.is_silent for connection in stalled)


def test_a_body_that_comes_late_but_comes_is_accepted(receiver: Receiver) -> None:
    stalled = [receiver.stalled() for _ in range(STALLED)]
    for connection in stalled:
        connection.send(BODY[:10])
    assert receiver.ask(request()).status == 202
    for connection in stalled:
        connection.send(BODY[10:])
    assert [connection.reply().status for connection in stalled] == [202] * STALLED


def test_a_stalled_body_is_given_up_after_its_time(tmp_path: Path) -> None:
    with receiver_in(tmp_path, HOOKLINE_BODY_SECONDS=1) as impatient:
        stalled, chunked_one = impatient.stalled(), impatient.connect().send(chunked(BODY[:10], end=b""))
        reply = stalled.reply()
        assert (reply.status, reply.body) == (408, b'{"error":"The body did not arrive within 1 s."}')
        assert stalled.ends()
        assert chunked_one.reply().status == 408
        assert chunked_one.ends()
        assert impatient.ask(request()).status == 202
        assert impatient.stop() == 0
        assert impatient.complaints() == []


def test_a_body_of_many_small_pieces_is_put_together(receiver: Receiver) -> None:
    connection = receiver.stalled()
    for place in range(len(BODY)):
        connection.send(BODY[place : place + 1])
    assert connection.reply().status == 202


def test_a_large_body_that_is_cut_off_is_no_error_of_ours(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        for bytes_sent in (100, 3_000_000):
            connection = own.stalled(length=20_000_000)
            connection.send(b"a" * bytes_sent)
            connection.close()
        assert own.ask(request()).status == 202
        assert own.stop() == 0
        assert own.complaints() == []


def test_a_wrong_host_is_one_line_in_the_log(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        assert own.ask(request("GET", "/admin/", b"", headers={"Host": "elsewhere.example"})).status == 400
        assert own.stop() == 0
        [line] = own.complaints()
        assert " WARNING " in line
        assert "Invalid HTTP_HOST header: 'elsewhere.example'" in line


def test_a_large_body_is_accepted_whole(receiver: Receiver) -> None:
    body = body_of(text="a" * 20_000_000)
    assert receiver.ask(request(body=body)).status == 202


def test_stalled_large_bodies_do_not_keep_other_large_ones_waiting(tmp_path: Path) -> None:
    large = body_of(text="a" * 2_000_000)
    with receiver_in(tmp_path, HOOKLINE_BODY_SECONDS=3) as own:
        stalled = [own.connect().send(request(body=large, sends_body=False)) for _ in range(STALLED)]
        assert own.ask(request(body=large)).status == 202
        assert all(connection.is_silent for connection in stalled)


def test_a_length_over_the_limit_is_refused_before_the_body_is_read(receiver: Receiver) -> None:
    connection = receiver.connect()
    connection.send(request(headers={"Content-Length": str(25 * 1024 * 1024 + 1)}, sends_body=False))
    assert connection.reply().status == 413
    assert connection.ends()


def test_a_page_takes_no_large_body_either(receiver: Receiver) -> None:
    reply = receiver.ask(request(path="/sign-in/", headers={"Content-Length": str(2**30)}, sends_body=False))
    assert reply.status == 413


def test_a_missing_length_is_411(receiver: Receiver) -> None:
    assert receiver.ask(request(without="Content-Length", sends_body=False)).status == 411


def chunked(
    *pieces: bytes, end: bytes = b"0\r\n\r\n", path: str = PATH, headers: dict[str, str] | None = None
) -> bytes:
    """Return a delivery of BODY's signature in chunks, as a tunnel sends on what GitHub sent."""
    fields = {"Transfer-Encoding": "chunked", **(headers or {})}
    without = "" if "Content-Length" in fields else "Content-Length"
    head = request(path=path, headers=fields, without=without, sends_body=False)
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def test_a_chunked_delivery_is_one_like_any_other(receiver: Receiver) -> None:
    connection = receiver.connect()
    for pieces in ((BODY,), (BODY[:5], BODY[5:]), [BODY[place : place + 1] for place in range(len(BODY))]):
        assert connection.send(chunked(*pieces)).reply().status == 202
    assert connection.send(chunked(BODY + b" ")).reply().status == 401
    assert connection.send(request()).reply().status == 202


def test_a_large_chunked_delivery_is_accepted_whole(receiver: Receiver) -> None:
    body = body_of(text="a" * 20_000_000)
    signature = headers_for(body, secret=SECRET)["X-Hub-Signature-256"]
    pieces = [body[place : place + 100_000] for place in range(0, len(body), 100_000)]
    assert receiver.ask(chunked(*pieces, headers={"X-Hub-Signature-256": signature})).status == 202


@pytest.mark.parametrize(("path", "limit"), [(PATH, 25 * MB), ("/sign-in/", 5 * MB), ("/livez", 5 * MB)])
def test_a_chunked_body_is_refused_as_soon_as_it_is_over_the_limit(receiver: Receiver, path: str, limit: int) -> None:
    connection = receiver.connect()
    connection.send(chunked(*[b"a" * MB] * (limit // MB), b"a", end=b"", path=path))
    assert connection.reply().status == 413
    assert connection.ends()


def test_a_page_takes_a_chunked_form(receiver: Receiver) -> None:
    page = receiver.ask(request("GET", "/sign-in/", b""))
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)
    assert token
    form = b"username=nobody&password=wrong&csrfmiddlewaretoken=" + token[1]
    cookie = page.headers["set-cookie"].partition(";")[0]
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
    reply = receiver.ask(chunked(form[:20], form[20:], path="/sign-in/", headers=headers))
    assert reply.status == 200
    assert b"Please enter a correct username and password" in reply.body


@pytest.mark.parametrize("end", [b"", b"0\r\n", b"zz\r\n"])
@pytest.mark.parametrize("path", [PATH, "/sign-in/"])
def test_a_chunked_body_that_breaks_off_does_not_pass_for_a_whole_one(
    receiver: Receiver, path: str, end: bytes
) -> None:
    reply = receiver.connect().send(chunked(BODY, end=end, path=path)).ends_sending().reply()
    assert reply.status == 400


def test_trailers_are_not_taken(receiver: Receiver) -> None:
    assert receiver.ask(chunked(BODY, end=b"0\r\nX-GitHub-Event: push\r\n\r\n")).status == 400


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "gzip", "identity", "x", "chunked;q=1"])
@pytest.mark.parametrize("path", [PATH, "/sign-in/"])
def test_other_transfer_codings_are_refused(receiver: Receiver, path: str, coding: str) -> None:
    assert receiver.ask(chunked(BODY, path=path, headers={"Transfer-Encoding": coding})).status == 400


@pytest.mark.parametrize("length", ["5", str(len(BODY)), "+5"])
def test_a_chunked_body_with_a_length_beside_it_leaves_no_connection_to_smuggle_on(
    receiver: Receiver, length: str
) -> None:
    connection = receiver.connect().send(chunked(BODY, headers={"Content-Length": length}))
    assert connection.reply().status in (202, 400)
    assert connection.ends()


@pytest.mark.parametrize(
    "lengths", [("5", "7"), ("-1",), ("+5",), ("5, 7",), ("",), ("9" * 30,), ("\u0665",), ("5_0",)]
)
@pytest.mark.parametrize("path", [PATH, "/sign-in/", "/livez"])
def test_a_length_that_cannot_be_is_refused(receiver: Receiver, path: str, lengths: tuple[str, ...]) -> None:
    assert receiver.ask(of_length(*lengths, path=path)).status == 400


@pytest.mark.parametrize("path", [PATH, "/sign-in/", "/livez"])
@pytest.mark.parametrize("zeros", [20, 300, 5000])
def test_a_length_with_leading_zeros_is_the_number_that_it_is(receiver: Receiver, path: str, zeros: int) -> None:
    assert receiver.ask(of_length("0" * zeros + "400000000", path=path)).status == 413
    assert receiver.ask(of_length(f"{'0' * zeros}{len(BODY)}", path=path) + BODY).status in (200, 202, 403)


def of_length(*lengths: str, path: str) -> bytes:
    head = request(path=path, without="Content-Length", sends_body=False).removesuffix(b"\r\n")
    return head + b"".join(b"Content-Length: %b\r\n" % length.encode() for length in lengths) + b"\r\n"


# --- Odd requests -----------------------------------------------------------------------------------------------------


def test_a_header_with_underscores_does_not_pass_for_the_hyphenated_one(receiver: Receiver) -> None:
    for name in ("X-GitHub-Event", "X-Hub-Signature-256"):
        value = headers_for(BODY, secret=SECRET)[name]
        reply = receiver.ask(request(without=name, headers={name.replace("-", "_"): value}))
        assert reply.status in (400, 401)


def test_an_underscored_header_does_not_displace_the_hyphenated_one(receiver: Receiver) -> None:
    assert receiver.ask(request(headers={"X_Hub_Signature_256": "sha256=0", "Content_Length": "1"})).status == 202


@pytest.mark.parametrize("name", ["X-GitHub-Event", "X-GitHub-Delivery", "X-GitHub-Hook-ID", "X-Hub-Signature-256"])
def test_a_header_that_comes_twice_is_refused(receiver: Receiver, name: str) -> None:
    value = headers_for(BODY, secret=SECRET)[name]
    assert receiver.ask(request(headers={name.lower(): value})).status in (400, 401)


@pytest.mark.parametrize(
    "path",
    [f"{PATH}/", "/webhooks/gith%75b/", "/webhooks/gith%75b", f"{PATH}?source=ghes&%ff", f"http://elsewhere{PATH}"],
)
def test_a_path_may_be_written_in_other_ways(receiver: Receiver, path: str) -> None:
    assert receiver.ask(request(path=path)).status == 202


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/",
        "/webhooks/github//",
        "/webhooks//github",
        "/webhooks/gitlab/",
        "/webhooks/gitlab",
        "/webhooks/githüb",
        "/webhooks/%ff%00",
        "/webhooks/a/b",
    ],
)
def test_a_path_to_no_source_is_404_in_json(receiver: Receiver, path: str) -> None:
    reply = receiver.ask(request(path=path))
    assert (reply.status, reply.headers["content-type"], reply.body) == (
        404,
        "application/json",
        b'{"error":"No such source."}',
    )


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH", "BREW"])
def test_other_methods_are_405_before_a_body_is_read(receiver: Receiver, method: str) -> None:
    reply = receiver.ask(request(method, headers={"Content-Length": "1000"}, sends_body=False), method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert (reply.body == b"") == (method == "HEAD")


def test_a_refusal_leaves_the_connection_to_the_next_request(receiver: Receiver) -> None:
    connection = receiver.connect()
    statuses = [
        connection.send(request(headers=headers)).reply().status
        for headers in ({"X-GitHub-Event": "!"}, {}, {"X-Hub-Signature-256": "sha256="}, {"Content-Type": "a/b"}, {})
    ]
    assert statuses == [400, 202, 401, 415, 202]


def test_pipelined_requests_are_answered_in_their_order(receiver: Receiver) -> None:
    connection = receiver.connect()
    connection.send(request() + request("GET", "/livez", b"") + request(headers={"X-GitHub-Event": "!"}) + request())
    assert [connection.reply().status for _ in range(4)] == [202, 200, 400, 202]


def test_no_header_whatever_its_bytes_is_our_fault(receiver: Receiver) -> None:
    names = list(headers_for(BODY, secret=SECRET))
    for name in [*names, "Host", "Cookie", "X-Forwarded-For", "Accept-Language"]:
        for value in (b"", b"\xff\xfe", b"caf\xe9", "é".encode(), b"a\tb", b"\x00", b"\x7f", b"a" * 70_000):
            data = request(without=name).replace(b"\r\n", b"\r\n%b: %b\r\n" % (name.encode(), value), 1)
            assert receiver.ask(data).status < 500, (name, value[:10])
    assert receiver.ask(request()).status == 202


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"POST\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
def test_what_is_not_http_harms_nobody(receiver: Receiver, data: bytes) -> None:
    receiver.connect().send(data)
    assert receiver.ask(request()).status == 202


def test_headers_without_end_are_refused(receiver: Receiver) -> None:
    assert receiver.ask(request(headers={f"X-{number}": "a" for number in range(500)})).status == 431


@pytest.mark.parametrize(
    "path", [PATH, "/livez", "/readyz", "/metrics", f"{PATH}/", "/livez/", "/readyz/", "/startupz/"]
)
def test_neither_deliveries_nor_probes_ask_by_which_name_they_were_reached(receiver: Receiver, path: str) -> None:
    # A probe of Kubernetes and a scrape of Prometheus name the pod's address, which nobody knows beforehand.
    method, body = ("POST", BODY) if path.startswith(PATH) else ("GET", b"")
    reply = receiver.ask(request(method, path, body, headers={"Host": "10.1.2.3:8000"}))
    assert reply.status in (200, 202)


def test_a_page_is_not_served_under_a_foreign_name(receiver: Receiver) -> None:
    assert receiver.ask(request("GET", "/admin/", b"", headers={"Host": "evil.example"})).status == 400


def test_http_2_is_not_spoken(receiver: Receiver) -> None:
    connection = receiver.connect().send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert connection.ends()


# --- Ends -------------------------------------------------------------------------------------------------------------


def test_a_sender_that_hangs_up_leaves_no_error_in_the_log(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        for _ in range(10):
            connection = own.stalled()
            connection.send(BODY[:10]).close()
            own.connect().send(request()).close()
            own.connect().send(request(sends_body=False)[:50]).close()
        assert own.ask(request()).status == 202
        assert own.stop() == 0
        assert own.complaints() == []


@pytest.mark.slow
def test_sigterm_lets_a_request_finish_that_has_begun(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        begun = [own.stalled() for _ in range(2 * THREADS)]
        own.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not own.listens(), what="the receiver has stopped listening")
        assert [connection.send(BODY).reply().status for connection in begun] == [202] * len(begun)
        assert own.process.wait(PATIENCE) == 0
        assert own.complaints() == []


def test_sigterm_does_not_wait_for_a_stalled_body_longer_than_its_time(tmp_path: Path) -> None:
    with receiver_in(tmp_path, HOOKLINE_BODY_SECONDS=2) as own:
        stalled = [own.stalled() for _ in range(2 * THREADS)]
        began = time.monotonic()
        assert own.stop() == 0
        assert time.monotonic() - began < 2 + 5
        assert {connection.reply().status for connection in stalled} == {408}
        assert own.complaints() == []


@pytest.mark.slow
def test_after_sigterm_it_serves_on_for_a_while_not_ready_and_closes_connections(tmp_path: Path) -> None:
    with receiver_in(tmp_path, HOOKLINE_DRAIN_SECONDS=3) as own:
        kept = own.connect()
        assert kept.send(request()).reply().status == 202
        own.process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: b'"faults": ["stopping"]' in own.ask(request("GET", "/readyz", b"")).body,
            what="the receiver says that it is not ready",
        )
        assert kept.send(request()).reply().status == 202
        assert kept.ends()
        assert own.ask(request()).status == 202
        assert own.process.wait(PATIENCE) == 0
        assert own.complaints() == []


def test_sigterm_ends_an_idle_receiver_with_idle_connections_at_once(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        idle = own.connect()
        assert idle.send(request()).reply().status == 202
        assert own.stop() == 0
        assert idle.ends()
        assert own.complaints() == []


@pytest.mark.slow
def test_a_receiver_whose_launcher_was_killed_gives_the_port_back(tmp_path: Path) -> None:
    with receiver_in(tmp_path) as own:
        workers = own.workers()
        assert workers
        own.process.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), what="its workers are gone")
        assert not own.listens()
        with receiver_in(tmp_path, port=own.port) as next_one:
            assert next_one.ask(request()).status == 202
