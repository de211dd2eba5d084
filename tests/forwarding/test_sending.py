"""One request to a real server: what is connected to, how long it may take, and what of the answer is read."""

import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.targets import Says, Target, target
from webhooks.forwarding import sending
from webhooks.forwarding.network import AddressRefusedError
from webhooks.forwarding.sending import Answer, UnreachableError

METADATA = "169.254.169.254"


@pytest.fixture
def there() -> Iterator[Target]:
    with target() as one:
        yield one
        sending.close()


def post(
    url: str, *, allow_private: bool = True, seconds: float = 5.0, headers: Mapping[str, str] | None = None
) -> Answer:
    return sending.post(url, headers=headers or {}, body=b"{}", seconds=seconds, allow_private=allow_private)


class Names:
    """A resolver that gives the next of these answers each time it is asked for a name, and says what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = iter(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in next(self._answers)]


def test_an_answer_has_its_status_its_beginning_and_how_long_to_wait(there: Target) -> None:
    there.answer = lambda *_: Says(503, {"Retry-After": "7"}, b"\xffcome later" + b"." * 1000)
    answer = post(there.url, headers={"X-Token": "abc"})
    assert (answer.status, answer.retry_after, len(answer.text)) == (503, "7", sending.SHOWN)
    assert answer.text.startswith("\ufffdcome later")
    assert there.got[0].headers["x-token"] == "abc"
    assert there.got[0].body == b"{}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
def test_a_private_host_is_not_connected_to_unless_it_is_allowed(there: Target, host: str) -> None:
    with pytest.raises(AddressRefusedError):
        post(f"http://{host}:{there.port}/hook", allow_private=False)
    assert there.got == []


def test_what_was_checked_is_what_is_connected_to_though_the_name_leads_elsewhere_the_next_time(
    there: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.0.0.1"], [METADATA])
    monkeypatch.setattr(socket, "getaddrinfo", _of_name("rebound.example.com", names))
    assert post(f"http://rebound.example.com:{there.port}/hook").status == 200
    assert names.asked == ["rebound.example.com"]
    assert there.got[0].headers["host"] == f"rebound.example.com:{there.port}"


def test_a_name_that_leads_to_metadata_on_a_new_connection_is_refused_then(
    there: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.answer = lambda *_: Says(200, {"Connection": "close"}, closes=False)
    monkeypatch.setattr(
        socket, "getaddrinfo", _of_name("rebound.example.com", Names(["127.0.0.1"], ["127.0.0.1", METADATA]))
    )
    assert post(f"http://rebound.example.com:{there.port}/hook").status == 200
    with pytest.raises(AddressRefusedError):
        post(f"http://rebound.example.com:{there.port}/hook")
    assert len(there.got) == 1


def _of_name(name: str, names: Names) -> Any:
    """Return a resolver that asks these for the name, and the real one for every other."""
    real = socket.getaddrinfo
    return lambda host, *args, **given: (names if host == name else real)(host, *args, **given)


def test_a_redirect_is_answered_as_it_came_and_not_followed(there: Target) -> None:
    there.answer = lambda *_: Says(302, {"Location": f"http://{METADATA}/latest/meta-data/"})
    assert post(there.url).status == 302
    assert len(there.got) == 1


def test_a_proxy_of_the_environment_is_not_used(there: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(there.url).status == 200


@pytest.mark.parametrize(
    "says", [Says(waits_seconds=30), Says(drips_seconds=0.2, body=b"." * 100)], ids=["silent", "one byte at a time"]
)
def test_a_target_that_is_slow_in_whatever_way_ends_at_the_time_limit(there: Target, says: Says) -> None:
    there.answer = lambda *_: says
    with pytest.raises(UnreachableError, match=r"No answer in 0\.5 s"):
        post(there.url, seconds=0.5)


def test_a_connection_that_is_closed_is_a_failure_in_plain_words(there: Target) -> None:
    there.answer = lambda *_: Says(closes=True)
    with pytest.raises(UnreachableError, match="ended before there was an answer"):
        post(there.url)


def test_where_nothing_listens_the_failure_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnreachableError, match="refused"):
        post(f"http://127.0.0.1:{port}/")


def test_tls_to_what_does_not_speak_it_is_said_to_have_failed(there: Target) -> None:
    with pytest.raises(UnreachableError, match="TLS failed"):
        post(there.url.replace("http://", "https://"))
