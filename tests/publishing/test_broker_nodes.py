"""Several nodes of RabbitMQ, of which the first are down or silent: each program finds the one that answers."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery import current_app
from kombu.exceptions import OperationalError

from tests.publishing.test_relay import QUEUE, waiting
from tests.support import services
from tests.support.celery_app import celery_on
from tests.support.forwarding import forwarding
from tests.support.processes import free_port, wait_until
from tests.support.receiving import finish
from tests.support.stack import empty_broker, running_stack
from tests.support.whole_fleet import hold_every_program
from webhooks.publishing import publisher as publishing
from webhooks.publishing.broker import Broker
from webhooks.publishing.publisher import Publisher

pytestmark = pytest.mark.rabbitmq


def node(port: int) -> str:
    """Return the URL of the broker for tests, at another port of this machine."""
    parts = urlsplit(services.RABBITMQ_URL)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))


class Silent:
    """A node that takes connections and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = node(self._listener.getsockname()[1])

    def connections(self) -> int:
        """Return how many have come since it was asked last."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    with contextlib.closing(Silent()) as node:
        yield node


@pytest.fixture
def broker() -> Iterator[Broker]:
    with contextlib.closing(Broker()) as broker:
        yield broker


def dead() -> str:
    return node(free_port())


def test_nodes_that_refuse_are_passed_over_in_one_call(broker: Broker) -> None:
    with celery_on(";".join([dead(), dead(), dead(), services.RABBITMQ_URL])):
        assert broker.depth(QUEUE) >= 0


def test_a_silent_node_costs_one_try_and_the_next_one_goes_on_behind_it(broker: Broker, silent: Silent) -> None:
    with celery_on(";".join([silent.url, silent.url, dead(), services.RABBITMQ_URL])):
        for _ in range(2):
            with pytest.raises(OperationalError):
                broker.depth(QUEUE)
            assert silent.connections() == 1
        broker.depth(QUEUE)
        broker.close()
        broker.depth(QUEUE)
        assert silent.connections() == 0


def test_a_node_that_is_lost_is_left_for_the_next_one(broker: Broker) -> None:
    port = free_port()
    with celery_on(";".join([node(port), services.RABBITMQ_URL])):
        with forwarding(services.RABBITMQ_URL, port=port):
            broker.depth(QUEUE)
            broker._connection.connection.transport.sock.shutdown(socket.SHUT_RDWR)
            with pytest.raises(OperationalError):
                broker.depth(QUEUE)
        assert broker.depth(QUEUE) >= 0


def test_a_node_that_refuses_one_call_is_not_left(broker: Broker, silent: Silent) -> None:
    with celery_on(";".join([services.RABBITMQ_URL, silent.url])):
        with pytest.raises(OperationalError):
            broker._guarded(lambda: broker._producer.channel.queue_declare("nobody-has-declared-it", passive=True))
        assert broker.depth(QUEUE) >= 0
        assert silent.connections() == 0


def test_the_publisher_finds_the_node_that_answers(
    broker: Broker, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PAUSE_SECONDS", 0.0)
    with celery_on(";".join([silent.url, silent.url, services.RABBITMQ_URL])):
        empty_broker("rabbitmq")
        publisher = Publisher()
        for job in waiting(3):
            publisher.offer([job])
            wait_until(lambda: not publisher._queue.unfinished_tasks, what="the publisher has tried")
        finish(publisher)
        assert silent.connections() == 2
    with celery_on(services.RABBITMQ_URL):
        wait_until(lambda: broker.depth(QUEUE) == 1, what="the third job's message")


def test_a_channel_of_celerys_own_is_had_from_whichever_node_answers(silent: Silent) -> None:
    """As Flower and the remote control get theirs."""
    urls = ";".join([silent.url, dead(), silent.url, services.RABBITMQ_URL])
    with celery_on(urls), current_app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        assert channel.is_open


@pytest.mark.slow
def test_every_program_works_although_the_first_nodes_are_silent_or_down(silent: Silent, tmp_path: Path) -> None:
    urls = ";".join([silent.url, dead(), services.RABBITMQ_URL])
    with running_stack(tmp_path, database="sqlite", broker="rabbitmq", BROKER_URL=urls) as stack:
        hold_every_program(stack)
