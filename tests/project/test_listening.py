"""HOOKLINE_HOST as an address of either family or a name: every role listens there, and whoever looks finds it."""

import http.client
import re
import socket
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from environs import ValidationError

from project.addresses import listen_address
from tests.project.test_environment import PRODUCTION
from tests.support import services
from tests.support.brokers import repeated
from tests.support.processes import ROOT, free_port, manage, running, wait_until
from tests.support.stack import empty_broker, fresh_postgres
from webhooks import listening
from webhooks.listening import address_of, try_port, url_of
from webhooks.probe_server import ProbeServer

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="not run for want of a service: IPv6")
BOTH = ["127.0.0.1", "::1"]


def answers(host: str, port: int, path: str) -> bool:
    with (
        suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection(host, port, timeout=5)) as connection,
    ):
        connection.request("GET", path)
        return connection.getresponse().status in (200, 503)
    return False


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "reached"), [repeated("localhost", ["localhost"]), repeated("[::1]", ["::1"]), ("[::]", BOTH)]
)
def test_every_role_listens_where_it_is_told_to(tmp_path: Path, host: str, reached: list[str]) -> None:
    ports = {role: free_port() for role in ("receiver", "relay", "worker", "flower")}
    variables = {
        "HOOKLINE_HOST": host,
        "HOOKLINE_DATA_DIR": tmp_path / "data",
        "HOOKLINE_PORT": ports["receiver"],
        "HOOKLINE_FLOWER_PORT": ports["flower"],
        "HOOKLINE_OPERATOR_PASSWORD": "a-password-of-the-operator",
    }
    assert manage("migrate", "-v0", **variables).returncode == 0
    with ExitStack() as roles:
        for role, port in ports.items():
            roles.enter_context(running(role, log=tmp_path / f"{role}.log", **variables, HOOKLINE_PROBE_PORT=port))
        for role, port in ports.items():
            path = "/healthcheck" if role == "flower" else "/livez"
            for one in reached:
                wait_until(lambda: answers(one, port, path), what=f"{role} to answer at {one}")  # noqa: B023
        sent = manage("send_webhook", "ping", **variables)
        assert sent.returncode == 0, sent.stderr


@pytest.mark.parametrize(
    ("role", "host"),
    [
        ("receiver", "nowhere.invalid"),
        *(repeated(role, "nowhere.invalid") for role in ("relay", "worker", "flower")),
        repeated("receiver", "203.0.113.1"),
    ],
)
def test_a_host_that_cannot_be_is_a_sentence(tmp_path: Path, role: str, host: str) -> None:
    ports = {f"HOOKLINE_{name}PORT": free_port() for name in ("", "FLOWER_", "PROBE_")}
    ended = manage(role, HOOKLINE_DATA_DIR=tmp_path, HOOKLINE_HOST=host, **ports)
    assert ended.returncode == 1
    assert "HOOKLINE_HOST: nothing can be served there (" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("value", ["http://localhost", "localhost:8000", "[localhost]", "127.0.0", "0.0.0.0/0", "a b"])
def test_what_is_no_host_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="must be an address"):
        listen_address(value)


@pytest.mark.parametrize(("role", "variable"), [("receiver", "HOOKLINE_PORT"), ("flower", "HOOKLINE_FLOWER_PORT")])
def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path, role: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = manage(role, HOOKLINE_DATA_DIR=tmp_path, **{variable: taken.getsockname()[1]})
    assert ended.returncode == 1
    assert f"{variable}: nothing can be served there (Address already in use)." in ended.stderr


def test_a_name_is_an_address_where_there_is_no_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_args: Any, **_options: Any) -> list[Any]:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert address_of("localhost") == "::1"


@needs_ipv6
def test_every_address_is_production_s_default_in_both_families() -> None:
    assert listening.EVERY_ADDRESS == "::"
    with closing(ProbeServer(host="::", port=0).socket) as opened:
        assert opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://localhost:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_an_address_in_a_url_is_one_that_a_browser_takes(host: str, url: str) -> None:
    assert url_of(host, 8000) == url


def test_of_several_ports_the_first_that_is_free_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with ProbeServer.on_first_free(range(port, port + 50), host="127.0.0.1") as server:
            assert server.port > port
        with pytest.raises(OSError, match="in use"):
            ProbeServer.on_first_free(range(port, port + 1), host="127.0.0.1")
        with pytest.raises(OSError, match="in use"):
            try_port("127.0.0.1", port)


def production_lines() -> tuple[list[str], list[str]]:
    """Return the programs and the variables of docs/production.md's "Four processes"."""
    text = (ROOT / "docs/production.md").read_text().partition("## Four processes")[2].partition("\n## ")[0]
    commands = re.findall(r"`(\w+)`", text.partition(";")[0].partition("one of ")[2])
    block = re.search(r"\n\n((?:    .*\n)+)\n", text)
    assert block
    return commands, re.findall(r"\b([A-Z_]+)=", block[1])


@pytest.mark.postgres
@pytest.mark.rabbitmq
@pytest.mark.slow
def test_the_four_processes_run_on_one_machine_as_the_page_on_production_says(tmp_path: Path) -> None:
    commands, names = production_lines()
    assert commands == ["receiver", "relay", "worker", "flower"]
    empty_broker("rabbitmq")
    with fresh_postgres() as database_url, ExitStack() as roles:
        given = {**PRODUCTION, "DATABASE_URL": database_url, "BROKER_URL": services.URLS["rabbitmq"]}
        # Of the rest only the ports that others of this machine may have taken.
        variables = {name: given[name] for name in names}
        variables |= {"HOOKLINE_PORT": free_port(), "HOOKLINE_FLOWER_PORT": free_port()}
        assert manage("migrate", "-v0", **variables).returncode == 0
        for role in commands:
            roles.enter_context(running(role, log=tmp_path / role, **variables))
        for role in ("relay", "worker"):
            port = int(wait_until(lambda: logged_port(tmp_path / role), what=f"{role}'s port"))  # noqa: B023
            wait_until(lambda: answers("127.0.0.1", port, "/readyz"), what=role)  # noqa: B023
        wait_until(lambda: answers("127.0.0.1", int(str(variables["HOOKLINE_PORT"])), "/readyz"), what="receiver")
        flower = int(str(variables["HOOKLINE_FLOWER_PORT"]))
        wait_until(lambda: answers("127.0.0.1", flower, "/healthcheck"), what="flower")
        assert manage("send_webhook", "all", **variables).returncode == 0
        wait_until(lambda: "succeeded" in manage("inbox", **variables).stdout, what="the samples' jobs to be done")


def logged_port(log: Path) -> str | None:
    found = re.search(r'"probes are answered".*"port": (\d+)', log.read_text())
    return found[1] if found else None
