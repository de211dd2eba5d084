"""Deliveries from GitHub's addresses alone: the list, whose address counts, and what a receiver answers."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.support.deliveries import PATH, body_of, headers_for
from tests.support.github.meta import Meta, meta_of
from tests.support.processes import free_port, wait_until
from tests.support.receiver_process import SECRET, Receiver, receiver_in, request
from tests.support.receiving import fresh_receiver
from webhooks.github import meta as github_meta
from webhooks.github.meta import MetaError, read
from webhooks.receiver.hook_addresses import HookAddresses
from webhooks.receiver.sender_address import sender_address

FOUR, SIX = "192.0.2.0/24", "2001:db8:1::/48"
LATER = "198.51.100.0/24"
OURS = "192.0.2.7"
FOREIGN = "203.0.113.9"


def limited(*networks: str, meta: str = "") -> dict[str, dict[str, Any]]:
    return {"github": {"networks": list(networks), "meta_url": f"{meta}/meta" if meta else ""}}


@contextmanager
def reading(
    allowed: dict[str, dict[str, Any]], *, proxies: tuple[str, ...] = (), every_seconds: float = 0.05
) -> Iterator[HookAddresses]:
    addresses = HookAddresses(allowed, proxies=proxies, every_seconds=every_seconds)
    addresses.start()
    try:
        yield addresses
    finally:
        addresses.stop()


def knows(addresses: HookAddresses, source: str = "github") -> None:
    wait_until(lambda: addresses.refuses(source, FOREIGN, ""), what="the list is read")


# --- Whose address counts ---------------------------------------------------------------------------------------------

PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "means"),
    [
        (OURS, "", OURS),
        ("[2001:db8:1::7]", "", "2001:db8:1::7"),
        ("::ffff:192.0.2.7", "", OURS),
        ("fe80::1%eth0", "", "fe80::1"),
        ("10.0.0.1", OURS, OURS),
        ("[fd00::1]", "2001:db8:1::7", "2001:db8:1::7"),
        ("10.0.0.1", f"{OURS}:4711", OURS),
        ("10.0.0.1", "[2001:db8:1::7]:4711", "2001:db8:1::7"),
        ("::ffff:10.0.0.1", f"  {OURS} ", OURS),
        ("10.0.0.1", f"{OURS}, 10.0.0.2,fd00::2", OURS),
        # Whoever is no proxy of ours may write into the header what he likes.
        (FOREIGN, OURS, FOREIGN),
        ("10.0.0.1", f"{OURS}, {FOREIGN}", FOREIGN),
        ("10.0.0.1", f"{OURS}, {FOREIGN}, 10.0.0.2", FOREIGN),
        ("10.0.0.1", f"{OURS}, unknown", None),
        ("10.0.0.1", f"{OURS},", None),
        # It came from a proxy itself.
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("", OURS, None),
    ],
)
def test_the_sender_is_the_first_that_no_trusted_proxy_is(peer: str, forwarded: str, means: str | None) -> None:
    assert sender_address(peer, forwarded, proxies=PROXIES) == (means and ip_address(means))


# --- The list ---------------------------------------------------------------------------------------------------------


def test_the_list_is_asked_for_without_signing_in_and_only_once_while_it_is_the_same() -> None:
    with meta_of(FOUR, SIX) as meta:
        first = read(f"{meta.url}/meta")
        assert first is not None
        assert first.networks == (ip_network(FOUR), ip_network(SIX))
        assert read(f"{meta.url}/meta", etag=first.etag) is None
        meta.hooks.append(LATER)
        third = read(f"{meta.url}/meta", etag=first.etag)
        assert third is not None
        assert ip_network(LATER) in third.networks
    assert meta.statuses == [200, 304, 200]
    assert not any("Authorization" in headers for _, headers in meta.asked)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, b"", "answers 503"),
        (302, b"", "answers 302"),
        (304, b"", "answers 304"),
        (200, b"<html>", "answers with what is no JSON"),
        (200, b"[]", "names no addresses of hooks"),
        (200, b'{"hooks": []}', "names no addresses of hooks"),
        (200, b'{"verifiable_password_authentication": true}', "names no addresses of hooks"),
        (200, b'{"hooks": ["192.0.2.0/24", "hooks.example.com"]}', "names addresses of hooks that cannot be read"),
        (200, b'{"hooks": ["192.0.2.7/24"]}', "names addresses of hooks that cannot be read"),
        (200, b" " * 5_000, "answers with more than can be read"),
    ],
)
def test_what_is_no_list_is_an_error_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, reason: str
) -> None:
    monkeypatch.setattr(github_meta, "LARGEST_ANSWER", 4_000)
    with meta_of() as meta:
        meta.status, meta.body = status, body
        with pytest.raises(MetaError, match=f"^{reason}$"):
            read(f"{meta.url}/meta")
    assert len(meta.asked) == 1  # A redirect is not followed.


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/meta", "http://{label}.example/meta"])
def test_a_github_that_is_not_there_is_an_error_with_a_reason(url: str) -> None:
    with pytest.raises(MetaError, match=r"^cannot be reached \(\w+\)$"):
        read(url.format(port=free_port(), label="a" * 70))


def test_a_github_that_is_silent_or_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_meta, "SILENT_SECONDS", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(MetaError, match=r"^does not answer in time$"):
        read(f"http://127.0.0.1:{silent.getsockname()[1]}/meta")
    monkeypatch.setattr(github_meta, "ANSWER_SECONDS", -1.0)  # It is over with the first part of the answer.
    with meta_of(FOUR) as meta, pytest.raises(MetaError, match=r"^does not answer in time$"):
        read(f"{meta.url}/meta")


def test_without_a_limit_nobody_is_refused_and_no_thread_runs() -> None:
    with reading({}) as addresses:
        assert not addresses.refuses("github", FOREIGN, "")
        assert addresses._thread is None


def test_given_networks_hold_from_the_start() -> None:
    with reading(limited(FOUR, SIX)) as addresses:
        assert not addresses.refuses("github", OURS, "")
        assert not addresses.refuses("github", "[2001:db8:1::7]", "")
        assert addresses.refuses("github", FOREIGN, "")
        assert addresses.refuses("github", "2001:db8:2::7", "")
        assert not addresses.refuses("ghes", FOREIGN, "")


def test_any_address_is_taken_until_the_first_list_is_there(caplog: pytest.LogCaptureFixture) -> None:
    with meta_of(FOUR, SIX) as meta, reading(limited(meta=meta.url)) as addresses:
        knows(addresses)
        assert not addresses.refuses("github", OURS, "")
        assert not addresses.refuses("github", "2001:db8:1::7", "")
        assert addresses.refuses("github", "2001:db8:2::7", "")
    with meta_of(FOUR) as away:
        away.status = 503
        with caplog.at_level(logging.WARNING), reading(limited(LATER, meta=away.url)) as addresses:
            wait_until(lambda: len(away.asked) > 1, what="it was asked again")
            assert not addresses.refuses("github", FOREIGN, "")
            away.status = 200
            knows(addresses)
            assert not addresses.refuses("github", "198.51.100.7", "")  # One that is given.
    said = {(record.getMessage(), vars(record).get("reason")) for record in caplog.records}
    assert ("hook addresses not known: any is taken", "GitHub answers 503") in said


@pytest.mark.parametrize("fault", [(503, b""), (200, b'{"hooks": []}')], ids=["away", "an empty list"])
def test_the_last_list_is_kept_while_github_has_none(
    fault: tuple[int, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with meta_of(FOUR) as meta, reading(limited(meta=meta.url)) as addresses:
        knows(addresses)
        with caplog.at_level(logging.WARNING):
            meta.status, meta.body = fault
            before = len(meta.asked)
            wait_until(lambda: len(meta.asked) > before + 2, what="it was asked again")
        assert addresses.refuses("github", FOREIGN, "")
        assert not addresses.refuses("github", OURS, "")
        meta.status, meta.body, meta.hooks = 200, b"", [LATER]
        wait_until(lambda: not addresses.refuses("github", "198.51.100.7", ""), what="the new list is read")
        assert addresses.refuses("github", OURS, "")
    assert "hook addresses stay as last read" in {record.getMessage() for record in caplog.records}


def test_each_source_has_the_list_of_its_own_github() -> None:
    with meta_of(FOUR) as com, meta_of(LATER, prefix="/api/v3") as server:
        allowed = limited(meta=com.url) | {"ghes": {"networks": [], "meta_url": f"{server.url}/meta"}}
        with reading(allowed) as addresses:
            knows(addresses)
            knows(addresses, "ghes")
            assert addresses.refuses("github", "198.51.100.7", "")
            assert not addresses.refuses("ghes", "198.51.100.7", "")
    assert {path for path, _ in server.asked} == {"/api/v3/meta"}


def test_a_log_says_it_now_and_then_with_the_address_as_it_was_understood(caplog: pytest.LogCaptureFixture) -> None:
    with reading(limited(FOUR), proxies=("10.0.0.0/8",)) as addresses:
        assert addresses.refuses("github", "10.0.0.1", "\n a forged line")
        for _ in range(100):
            assert addresses.refuses("github", FOREIGN, "")
    (record,) = caplog.records
    assert (vars(record)["source"], vars(record)["address"], vars(record)["times"]) == ("github", "none", 1)


# --- A receiver -------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_the_view_without_the_front_refuses_them_too(settings: Any) -> None:
    settings.HOOKLINE_HOOK_ADDRESSES = limited(FOUR)
    settings.HOOKLINE_SECRETS = {"github": [SECRET]}
    body = body_of(zen="Mind your words, they are important.")
    headers = headers_for(body, secret=SECRET)
    kind = headers.pop("Content-Type")
    with fresh_receiver():
        statuses = [
            Client().post(PATH, body, content_type=kind, headers=headers, REMOTE_ADDR=address).status_code
            for address in (FOREIGN, OURS)
        ]
    assert statuses == [403, 202]


def from_address(address: str, body: bytes) -> bytes:
    return request(body=body, headers={"X-Forwarded-For": address, **headers_for(body, secret=SECRET)})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, Meta]]:
    """A receiver behind a proxy, which is this test."""
    with (
        meta_of(FOUR, SIX) as meta,
        receiver_in(
            tmp_path_factory.mktemp("receiver"),
            GITHUB_API_URL=meta.url,
            GITHUB_HOOK_ADDRESSES="meta",
            HOOKLINE_BEHIND_PROXY="true",
            HOOKLINE_TRUSTED_PROXIES="127.0.0.1",
        ) as receiver,
    ):
        wait_until(lambda: "hook addresses read" in receiver.log.read_text(), what="the list is read")
        yield receiver, meta


def test_a_receiver_takes_in_what_comes_from_github_and_refuses_the_rest(served: tuple[Receiver, Meta]) -> None:
    receiver, _ = served
    answers = [
        receiver.ask(from_address(address, body_of(zen=address))).status
        for address in (OURS, "2001:db8:1::7", FOREIGN, f"{OURS}, {FOREIGN}", "2001:db8:2::7", "unknown")
    ]
    assert answers == [202, 202, 403, 403, 403, 403]
    assert receiver.ask(request(body=body_of(zen="of the proxy"))).status == 403
    assert receiver.ask(request("GET", "/livez", b"")).status == 200


def test_what_was_refused_is_counted_and_logged_without_what_it_brought(served: tuple[Receiver, Meta]) -> None:
    receiver, _ = served
    body = body_of(zen="a word that only this body has")
    refused = receiver.ask(from_address(FOREIGN, body))
    assert b"only from the addresses of this source's GitHub" in refused.body
    metrics = receiver.ask(request("GET", "/metrics", b"")).body.decode()
    counted = [line for line in metrics.splitlines() if 'result="foreign"' in line and "_total" in line]
    assert len(counted) == 1
    log = receiver.log.read_text()
    assert "deliveries refused: not from an address of the source's GitHub" in log
    assert FOREIGN in log
    assert SECRET not in log
    assert "only this body has" not in log


def test_a_receiver_that_starts_while_github_is_away_takes_in_what_is_signed(tmp_path: Path) -> None:
    given: dict[str, Any] = {"GITHUB_API_URL": f"http://127.0.0.1:{free_port()}", "GITHUB_HOOK_ADDRESSES": "meta"}
    with receiver_in(tmp_path, **given) as receiver:
        wait_until(lambda: "not known: any is taken" in receiver.log.read_text(), what="it says so")
        assert receiver.ask(request()).status == 202
        unsigned = headers_for(body_of(zen="x"), secret="another secret of 16")
        assert receiver.ask(request(body=body_of(zen="x"), headers=unsigned)).status == 401
