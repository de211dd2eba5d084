"""TLS to the broker: no program of ours talks to one that cannot show a certificate for its name that we trust."""

import contextlib
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery import current_app
from django.core.checks import run_checks
from django.test import override_settings
from kombu.exceptions import OperationalError

from tests.faults.rabbitmq import own_rabbitmq
from tests.faults.servers import own_redis, stable_port
from tests.project.test_environment import PRODUCTION
from tests.publishing.test_relay import waiting
from tests.support import services
from tests.support.authority import Authority
from tests.support.brokers import REDIS, SERVERS, SERVERS_FOR_PROGRAMS, repeated
from tests.support.celery_app import celery_on
from tests.support.forwarding import forwarding
from tests.support.processes import free_port, manage
from tests.support.stack import empty_broker, running_stack
from tests.support.whole_fleet import hold_every_program
from webhooks.publishing import reasons
from webhooks.publishing.broker import Broker

QUEUE = "trial"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "trusted")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@contextlib.contextmanager
def served(broker: str, context: ssl.SSLContext, *, host: str = "localhost") -> Iterator[str]:
    """Serve a broker for tests under TLS, and give its URL."""
    port = free_port()
    with forwarding(services.URLS[broker], port=port, tls=context):
        yield url_at(broker, port, host=host)


def url_at(broker: str, port: int, *, host: str = "localhost") -> str:
    parts = urlsplit(services.URLS[broker])
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(scheme=f"{parts.scheme}s", netloc=f"{user}{at}{host}:{port}"))


def ways() -> dict[str, Callable[[], None]]:
    """Return how each program of ours connects."""

    def broker() -> None:
        with contextlib.closing(Broker()) as one:
            one.depth(QUEUE)

    def worker() -> None:
        with current_app.connection_for_read() as consumer:
            consumer.ensure_connection(max_retries=1, interval_start=0)

    def flower() -> None:
        with current_app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            assert channel

    return {"receiver, relay, probes, stop_workers": broker, "worker": worker, "Flower": flower}


def hold_refused(words: str) -> None:
    """Hold that each way is refused, and that the reason is told in these words."""
    for way in ways().values():
        with pytest.raises(OperationalError) as refused:
            way()
        assert reasons.reason(refused.value) == words or str(refused.value) == words


@pytest.mark.parametrize("broker", SERVERS)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_of_the_given_authority_for_the_name_is_taken(
    authority: Authority, broker: str, host: str
) -> None:
    with served(broker, authority.context(), host=host) as url, celery_on(url, ca_file=str(authority.certificate)):
        for way in ways().values():
            way()


@pytest.mark.parametrize("broker", SERVERS)
def test_a_group_of_messages_is_published_over_tls(authority: Authority, broker: str) -> None:
    empty_broker(broker)
    with (
        served(broker, authority.context()) as url,
        celery_on(url, ca_file=str(authority.certificate)),
        contextlib.closing(Broker()) as one,
    ):
        assert one.depth(QUEUE) == 0
        one.publish(waiting(200))
        assert one.depth(QUEUE) == 200
    empty_broker(broker)


@pytest.mark.parametrize("broker", SERVERS)
@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"names": "DNS:other.example.com,IP:127.0.0.2"}, "shows a certificate for another host name"),
        ({"days": -1}, "shows a certificate that has expired"),
    ],
    ids=["another name", "expired"],
)
def test_a_certificate_that_is_not_for_the_name_or_not_valid_any_more_is_refused(
    authority: Authority, broker: str, certificate: dict[str, Any], words: str
) -> None:
    with (
        served(broker, authority.context(**certificate)) as url,
        celery_on(url, ca_file=str(authority.certificate)),
    ):
        hold_refused(words)


@pytest.mark.parametrize("broker", SERVERS)
@pytest.mark.parametrize("trusts", ["another authority", repeated("the system")])
def test_an_authority_that_is_not_trusted_is_refused(
    authority: Authority, stranger: Authority, broker: str, trusts: str
) -> None:
    ca_file = "" if trusts == "the system" else str(authority.certificate)
    with served(broker, stranger.context()) as url, celery_on(url, ca_file=ca_file):
        hold_refused("shows a certificate of an authority that is not trusted; look at HOOKLINE_BROKER_CA_FILE")


@pytest.mark.parametrize("broker", SERVERS)
def test_any_certificate_is_taken_where_that_is_said(stranger: Authority, broker: str) -> None:
    context = stranger.context(names="DNS:other.example.com", days=-1)
    with served(broker, context) as url, celery_on(url, is_tls_verified=False):
        for way in ways().values():
            way()


@pytest.mark.parametrize("broker", SERVERS)
def test_the_broker_is_told_the_name_that_is_meant(authority: Authority, broker: str) -> None:
    context, told = authority.context(), []
    context.sni_callback = lambda _socket, name, _context: told.append(name)
    with served(broker, context) as url, celery_on(url, ca_file=str(authority.certificate)):
        for way in ways().values():
            way()
    assert set(told) == {"localhost"}


@pytest.mark.rabbitmq
def test_each_of_several_nodes_is_checked_by_its_own_name(authority: Authority) -> None:
    only_localhost = authority.context(names="DNS:localhost")
    ca_file = str(authority.certificate)
    with served("rabbitmq", only_localhost) as right, served("rabbitmq", only_localhost, host="127.0.0.1") as wrong:
        with celery_on(f"{url_at('rabbitmq', free_port(), host='127.0.0.1')};{right}", ca_file=ca_file):
            for way in ways().values():
                way()
        with celery_on(f"{url_at('rabbitmq', free_port())};{wrong}", ca_file=ca_file):
            for way in ways().values():
                with pytest.raises(OperationalError):
                    way()


@contextlib.contextmanager
def own_server(broker: str, certificate: Path, key: Path) -> Iterator[int]:
    """Start a server that speaks TLS itself, and give its port."""
    port = stable_port()
    with contextlib.ExitStack() as servers:
        if broker == "redis":
            files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
            options = ("--tls-port", port, *files, "--tls-auth-clients", "no")
            servers.enter_context(own_redis(options=[str(option) for option in options]))
        else:
            pair = (f"ssl_options.certfile = {certificate}", f"ssl_options.keyfile = {key}")
            listener = f"listeners.ssl.own = 127.0.0.1:{port}"
            servers.enter_context(own_rabbitmq(settings=[listener, *pair, "ssl_options.verify = verify_none"]))
        yield port


@pytest.mark.parametrize("broker", [repeated("rabbitmq", marks=pytest.mark.rabbitmq), REDIS])  # Redis starts sooner.
def test_a_server_that_speaks_tls_itself_is_checked_too(authority: Authority, broker: str) -> None:
    if not shutil.which("redis-server" if broker == "redis" else "rabbitmq-server"):
        pytest.skip(f"needs a {broker} of its own")
    user, path = ("", "/0") if broker == "redis" else ("guest:guest@", "//")
    scheme = "rediss" if broker == "redis" else "amqps"
    with own_server(broker, *authority.server(names="DNS:localhost")) as port:
        with celery_on(f"{scheme}://{user}localhost:{port}{path}", ca_file=str(authority.certificate)):
            for way in ways().values():
                way()
        with celery_on(f"{scheme}://{user}127.0.0.1:{port}{path}", ca_file=str(authority.certificate)):
            hold_refused("shows a certificate for another address")


@pytest.mark.parametrize("broker", SERVERS_FOR_PROGRAMS)
@pytest.mark.slow
def test_every_program_talks_tls(authority: Authority, broker: str, tmp_path: Path) -> None:
    with (
        served(broker, authority.context()) as url,
        running_stack(
            tmp_path,
            database="sqlite",
            broker=broker,
            BROKER_URL=url,
            HOOKLINE_BROKER_CA_FILE=str(authority.certificate),
        ) as stack,
    ):
        hold_every_program(stack)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_without_certificates_is_refused_at_start(tmp_path: Path, is_there: bool) -> None:
    if is_there:
        (tmp_path / "ca.pem").write_text("no certificate")
    ended = manage(
        "check", HOOKLINE_DATA_DIR=tmp_path, BROKER_URL="amqps://h//", HOOKLINE_BROKER_CA_FILE=tmp_path / "ca.pem"
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("hookline: HOOKLINE_BROKER_CA_FILE: is not the path of a PEM file")


def test_an_authority_for_a_broker_without_tls_is_refused_at_start(authority: Authority, tmp_path: Path) -> None:
    ended = manage(
        "check",
        HOOKLINE_DATA_DIR=tmp_path,
        BROKER_URL="amqp://h//",
        HOOKLINE_BROKER_CA_FILE=authority.certificate,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("hookline: HOOKLINE_BROKER_CA_FILE: BROKER_URL is without TLS")


def test_every_start_warns_that_the_certificate_is_not_verified(tmp_path: Path) -> None:
    production = PRODUCTION | {"BROKER_URL": "rediss://h/0", "HOOKLINE_BROKER_TLS_VERIFY": "false"}
    ended = manage("stop_workers", "--queue", "no-such-queue", **production)
    assert "WARNINGS:\n?: (webhooks.W010) The broker's certificate is not verified" in ended.stderr


@pytest.mark.parametrize(
    ("has_tls", "is_verified", "count"), [(True, True, 0), (True, False, 1), (False, False, 0), (False, True, 0)]
)
def test_only_tls_that_is_not_verified_is_warned_of(has_tls: bool, is_verified: bool, count: int) -> None:
    with override_settings(HOOKLINE_BROKER_HAS_TLS=has_tls, HOOKLINE_BROKER_TLS_VERIFY=is_verified):
        assert [check.id for check in run_checks(tags=["webhooks"])].count("webhooks.W010") == count
