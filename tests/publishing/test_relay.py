"""The relay: what it publishes and when, the window, outages, and its stop. Against each real broker."""

import contextlib
import errno
import logging
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import MessageNacked
from celery import current_app
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from kombu.exceptions import OperationalError

from tests.support import services
from tests.support.brokers import BROKERS
from tests.support.celery_app import celery_on
from tests.support.forwarding import forwarding
from tests.support.inbox_rows import make_job
from tests.support.processes import free_port, wait_until
from tests.support.receiving import finish
from tests.support.stack import Stack, empty_broker, running_stack
from webhooks.inbox import pauses
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.models import Job
from webhooks.publishing import relay as relaying
from webhooks.publishing.broker import Broker, Nodes, NotConnectedError, job_queue
from webhooks.publishing.health import RelayHealth
from webhooks.publishing.publisher import PAUSE_SECONDS, Publisher
from webhooks.publishing.relay import TICK_SECONDS, Relay
from webhooks.publishing.strays import Strays
from webhooks.states import JobState
from webhooks.subscriptions.subscription import Backoff, Subscription, Subscriptions

QUEUE = "trial"
SUBSCRIPTION = Subscription(
    name="app.handle",
    handler=lambda _event: None,
    events=frozenset({"push"}),
    actions=None,
    where={},
    queue=QUEUE,
    time_limit=30,
    soft_time_limit=20,
    max_attempts=3,
    backoff=Backoff(),
    takes_run=False,
)
database = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """An empty broker, with the settings it has in production."""
    with celery_on("filesystem://" if request.param == "filesystem" else services.URLS[request.param]):
        empty_broker(request.param, "other", "left")
        broker = Broker()
        broker.room(QUEUE)  # Declares the queue.
        messages()
        broker.close()  # Forgets the depth it has seen.
        yield broker
        broker.close()


def messages(name: str = QUEUE) -> list[Any]:
    """Take every message from a queue."""
    taken = []
    with current_app.connection_for_read() as read:
        queue = job_queue(name)(read.channel())
        while message := queue.get(no_ack=True):
            taken.append(message)
    return taken


def new_job(**values: Any) -> Job:
    """Store a job that was due a second ago."""
    usual: dict[str, Any] = {"handler": "app.handle", "queue": QUEUE, "publish_at": Now() - timedelta(seconds=1)}
    return make_job(values.pop("state", JobState.QUEUED), **usual | values)


def waiting(count: int, *, queue: str = QUEUE) -> list[JobToPublish]:
    return [JobToPublish(number, "app.handle", queue) for number in range(count)]


def rows() -> list[Any]:
    return list(Job.objects.order_by("pk").values())


def new_strays(subscriptions: Subscriptions) -> Strays:
    return Strays(subscriptions, health=RelayHealth(threading.Event()), gone_seconds=0)


def new_relay(broker: Broker | None = None) -> Relay:
    return Relay(Subscriptions([SUBSCRIPTION]), stop=threading.Event(), broker=broker)


@database
def test_a_due_job_becomes_one_message_under_its_handlers_name(broker: Broker) -> None:
    """Its time limits are no affair of the message, for which a worker may run other jobs."""
    job = new_job()
    assert new_relay(broker).round()[0].published == 1
    (message,) = messages()
    assert message.headers["task"] == "app.handle"
    assert message.headers["timelimit"] == [None, None]
    assert message.headers["hookline"] == 1
    assert message.payload[0] == [job.pk]


@pytest.mark.both_databases
@database
def test_publishing_changes_no_job_and_several_relays_do_no_harm(broker: Broker) -> None:
    """Each may publish for the same jobs; together they stay within the window, but for what each has not seen yet."""
    for number in range(3):
        new_job(publish_at=Now() - timedelta(seconds=9 - number))
    before = rows()
    relays = [new_relay(broker), new_relay(Broker())]
    assert [relay.round()[0].published for relay in relays] == [3, 3]
    assert [relay.round()[0].published for relay in relays] == [0, 0]
    relays[1]._broker.close()
    assert rows() == before
    assert len(messages()) == 6


@pytest.mark.both_databases
@database
def test_when_the_broker_loses_every_message_they_are_published_again(broker: Broker) -> None:
    """And again, less and less often, while nobody claims the jobs."""
    new_job()
    relay = new_relay(broker)
    assert relay.round()[0].published == 1
    assert len(messages()) == 1
    wait_until(lambda: relay.round()[0].published, what="the job's next message")
    assert len(messages()) == 1


@pytest.mark.both_databases
@database
@pytest.mark.parametrize("names", [{"queue": QUEUE}, {"handler": "app.handle"}], ids=["queue", "handler"])
def test_nothing_is_published_for_what_is_paused_and_at_once_when_it_resumes(
    broker: Broker, names: dict[str, str]
) -> None:
    job = new_job()
    subscriptions = Subscriptions([SUBSCRIPTION, replace(SUBSCRIPTION, name="app.other", queue="other")])
    relay = Relay(subscriptions, stop=threading.Event(), broker=broker)
    assert relay.round()[0].published == 1
    pauses.pause(reason="GitHub outage", who="ana", **names)
    other = new_job(queue="other", handler="app.other")
    assert [relay.round()[0].published for _ in range(3)] == [1, 0, 0]
    assert relay.round()[1] <= TICK_SECONDS
    pauses.resume(who="ana", **names)
    # Though a message was published for it a moment before the pause.
    assert relay.round()[0].published == 1
    assert [message.payload[0] for message in messages()] == [[job.pk], [job.pk]]
    assert [message.payload[0] for message in messages("other")] == [[other.pk]]


@pytest.mark.both_databases
@database
def test_jobs_of_a_paused_handler_that_is_gone_wait_for_what_comes_of_it(broker: Broker) -> None:
    job = new_job(handler="app.gone")
    pauses.pause(handler="app.gone", reason="rolled back", who="ana")
    strays = new_strays(Subscriptions([SUBSCRIPTION]))
    strays.step()
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
    pauses.resume(handler="app.gone", who="ana")
    strays.step()
    job.refresh_from_db()
    assert job.state == JobState.DEAD


@database
def test_no_more_is_published_than_the_window_has_room_for(broker: Broker, settings: Any) -> None:
    settings.HOOKLINE_QUEUE_WINDOW = 3
    for _ in range(5):
        new_job()
    relay = new_relay(broker)
    assert relay.round()[0].published == 3
    assert relay.round()[0].published == 0
    claimed = [message.payload[0][0] for message in messages()]
    assert len(claimed) == 3
    Job.objects.filter(pk__in=claimed).update(state=JobState.SUCCEEDED, publish_at=None)
    # Its view of the depth is a second old at most.
    wait_until(lambda: relay.round()[0].published, what="the rest to be published")
    assert len(messages()) == 2


@pytest.mark.both_databases
@database
def test_a_backlog_that_nobody_takes_costs_little_and_holds_up_no_other_queue(
    broker: Broker, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOOKLINE_QUEUE_WINDOW = 3
    monkeypatch.setattr(relaying, "MOST_JOBS", 5)
    for _ in range(10):
        new_job()
    subscriptions = Subscriptions([SUBSCRIPTION, replace(SUBSCRIPTION, name="app.other", queue="other")])
    relay = Relay(subscriptions, stop=threading.Event(), broker=broker)
    assert relay.round()[0].published == 3
    other = new_job(queue="other", handler="app.other")
    assert relay.round()[0].published == 1
    other.delete()
    with CaptureQueriesContext(connection) as asked:
        assert relay.round()[0].published == 0
    # What is paused; which queues wait: one, and no more; which of its jobs are due, and for how long.
    assert len(asked) == 5
    assert (len(messages()), len(messages("other"))) == (3, 1)


@database
def test_a_job_whose_handler_moved_to_another_queue_is_published_there(broker: Broker) -> None:
    """From a queue that others still use, and from one that nobody uses any more."""
    subscriptions = Subscriptions([SUBSCRIPTION, replace(SUBSCRIPTION, name="app.other", queue="default")])
    jobs = [new_job(queue="default"), new_job(queue="left")]
    relay = Relay(subscriptions, stop=threading.Event(), broker=broker)
    assert relay.round()[0].published == 0
    new_strays(subscriptions).step()
    assert relay.round()[0].published == 2
    assert {Job.objects.get(pk=job.pk).queue for job in jobs} == {QUEUE}
    assert sorted(message.payload[0][0] for message in messages()) == [job.pk for job in jobs]


@database
def test_behind_a_full_window_a_job_whose_handler_moved_or_went_waits_for_no_room(
    broker: Broker, settings: Any
) -> None:
    settings.HOOKLINE_QUEUE_WINDOW = 1
    subscriptions = Subscriptions([SUBSCRIPTION, replace(SUBSCRIPTION, name="app.other", queue="other")])
    stuck = [new_job() for _ in range(2)]
    moved, gone = new_job(handler="app.other"), new_job(handler="app.gone")
    stuck.append(new_job())
    relay = Relay(subscriptions, stop=threading.Event(), broker=broker)
    assert relay.round()[0].published == 1
    new_strays(subscriptions).step()
    assert relay.round()[0].published == 1
    assert Job.objects.get(pk=moved.pk).queue == "other"
    assert Job.objects.values_list("state", "error").get(pk=gone.pk) == (
        JobState.DEAD, "No installed app has a handler named app.gone.",
    )  # fmt: skip
    waiting = Job.objects.filter(pk__in=[job.pk for job in stuck])
    assert list(waiting.values_list("queue", flat=True)) == [QUEUE] * 3
    assert (len(messages()), len(messages("other"))) == (1, 1)


class FailingBroker(Broker):
    """A broker that takes nothing for one queue, and for the others only so many messages."""

    def __init__(self, *, bad_queue: str = "", takes: int = 1000) -> None:
        super().__init__()
        self.bad_queue, self.takes = bad_queue, takes

    def room(self, queue: str) -> int:
        return 1000

    def publish(self, jobs: Sequence[JobToPublish]) -> None:
        for job in jobs:
            if job.queue == self.bad_queue or not self.takes:
                raise OperationalError("PreconditionFailed")
            self.takes -= 1


@database
def test_a_queue_that_takes_nothing_does_not_stop_the_others() -> None:
    trial, other = replace(SUBSCRIPTION, queue="a"), replace(SUBSCRIPTION, name="app.other", queue="b")
    new_job(queue="a")
    new_job(queue="b", handler="app.other")
    subscriptions = Subscriptions([trial, other])
    assert Relay(subscriptions, stop=threading.Event(), broker=FailingBroker(bad_queue="a")).round()[0].published == 1


@database
def test_after_a_failure_all_jobs_that_wait_are_published_for() -> None:
    for _ in range(3):
        new_job()
    before, broker = rows(), FailingBroker(takes=1)
    relay = new_relay(broker)
    with pytest.raises(OperationalError):
        relay.round()
    broker.takes = 3
    assert relay.round()[0].published == 3
    assert rows() == before


@pytest.mark.rabbitmq
def test_a_group_is_in_the_queue_once_it_is_published() -> None:
    with celery_on(services.RABBITMQ_URL), contextlib.closing(Broker()) as broker:
        empty_broker("rabbitmq")
        broker.depth(QUEUE)
        for _ in range(3):
            broker.publish(waiting(100))
            assert not broker._confirms._open  # type: ignore[union-attr]
        assert len(messages()) == 300


@pytest.mark.rabbitmq
def test_if_rabbitmq_refuses_one_message_of_a_group_that_is_an_operational_error() -> None:
    with celery_on(services.RABBITMQ_URL), current_app.connection_for_write() as write:
        channel: Any = write.channel()
        full = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare("full", durable=True, auto_delete=False, arguments=full)
        broker = Broker()
        with pytest.raises(OperationalError) as refused:
            broker.publish(waiting(500, queue="full"))  # RabbitMQ lets a few more in than it was told to.
        assert isinstance(refused.value.__cause__, MessageNacked)
        channel.queue_delete("full")


@pytest.mark.redis
def test_if_redis_fails_at_a_group_that_is_an_operational_error() -> None:
    port = free_port()
    with forwarding(services.REDIS_URL, port=port) as line, celery_on(f"redis://127.0.0.1:{port}/15"):
        broker = Broker()
        broker.depth(QUEUE)
        line.cut()
        with pytest.raises(OperationalError, match=r"^(ended the connection|refuses the connection)"):
            broker.publish(waiting(2))


@database
@pytest.mark.parametrize("scheme", ["amqp://guest:guest@", "redis://"])
def test_a_broker_that_cannot_be_connected_to_ends_the_round_at_the_first_queue(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    connect = Nodes.connect

    def counted(nodes: Nodes) -> Any:
        tries.append(1)
        return connect(nodes)

    monkeypatch.setattr(Nodes, "connect", counted)
    queues = [f"q{number}" for number in range(10)]
    relay = Relay(
        Subscriptions([replace(SUBSCRIPTION, name=f"app.{queue}", queue=queue) for queue in queues]),
        stop=threading.Event(),
    )
    for queue in queues:
        new_job(queue=queue, handler=f"app.{queue}")
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"{scheme}127.0.0.1:{silent.getsockname()[1]}/"
    with silent, celery_on(url), pytest.raises(NotConnectedError):
        relay.round()
    assert len(tries) == 1


@database
def test_the_relay_sleeps_no_longer_than_until_the_next_job_is_due() -> None:
    relay = new_relay()
    assert relay.round()[1] == 1.0
    new_job(publish_at=Now() + timedelta(seconds=0.4))
    assert 0 < relay.round()[1] <= 0.4


def test_a_broker_that_refuses_is_an_operational_error() -> None:
    for url in (f"amqp://guest:guest@127.0.0.1:{free_port()}//", f"redis://127.0.0.1:{free_port()}/0"):
        with celery_on(url), pytest.raises(OperationalError):
            Broker().publish(waiting(1))


@pytest.mark.parametrize("scheme", ["amqp://guest:guest@", "redis://"])
def test_a_broker_that_accepts_and_never_replies_is_an_operational_error(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}127.0.0.1:{silent.getsockname()[1]}/"
        with celery_on(url), pytest.raises(OperationalError):
            Broker().room(QUEUE)


def test_offering_to_a_publisher_whose_broker_is_silent_does_not_wait(caplog: pytest.LogCaptureFixture) -> None:
    """One log line for each reason says so; the rest is the relay's work."""
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, celery_on(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"), caplog.at_level(logging.WARNING):
        publisher = Publisher(capacity=5)
        began = time.monotonic()
        publisher.offer(waiting(1000))
        assert time.monotonic() - began < PAUSE_SECONDS
        finish(publisher)
    assert {record.getMessage() for record in caplog.records} == {"jobs are left to the relay"}
    reasons = [record.__dict__["reason"] for record in caplog.records]
    assert reasons == ["more than can be published at once", "the broker did not answer in time"]


@pytest.mark.rabbitmq
def test_a_queue_that_nobody_has_declared_becomes_a_quorum_queue() -> None:
    name = f"new-{uuid.uuid4()}"
    with celery_on(services.RABBITMQ_URL), current_app.connection_for_write() as write:
        broker = Broker()
        broker.room(name)
        broker.publish(waiting(1, queue=name))
        broker.close()
        channel: Any = write.channel()
        with pytest.raises(write.channel_errors, match=r"inequivalent arg 'x-queue-type'.*classic.*quorum"):
            channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "classic"})
        cleaner: Any = write.channel()
        cleaner.queue_delete(name)


class TestProcess:
    """`manage.py relay` as a process."""

    @pytest.fixture
    def stack(self, tmp_path: Path) -> Iterator[Stack]:
        with running_stack(tmp_path, database="sqlite", broker="filesystem") as stack:
            stack.migrate()
            yield stack

    @pytest.mark.slow
    def test_it_stops_on_term_with_exit_0(self, stack: Stack) -> None:
        relay = stack.start("relay")
        wait_until(lambda: "relay started" in stack.logs(), what="the relay to start")
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(timeout=10) == 0

    def test_it_stops_although_the_broker_never_replies(self, stack: Stack) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            stack.broker_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
            insert_waiting_job(stack)
            relay = stack.start("relay")
            talking, _ = silent.accept()
            with talking:
                relay.send_signal(signal.SIGTERM)
                assert relay.wait(timeout=10) == 0

    @pytest.mark.redis
    @pytest.mark.slow
    def test_it_waits_a_broker_outage_out(self, stack: Stack) -> None:
        empty_broker("redis")
        insert_waiting_job(stack)
        port = free_port()
        stack.broker_url = f"redis://127.0.0.1:{port}/15"
        stack.start("relay")
        wait_until(lambda: "relay waits" in stack.logs(), what="the relay to notice")
        with forwarding(services.REDIS_URL, port=port):
            wait_until(lambda: "published=1" in stack.logs(), what="the relay to publish")
        empty_broker("redis")


def insert_waiting_job(stack: Stack) -> None:
    stack.run_module("tests.support.programs.insert_waiting_job")


def test_a_full_disk_under_the_embedded_broker_is_a_broker_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_queue: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    broker = Broker()
    monkeypatch.setattr(broker, "_read_depth", full)
    with pytest.raises(OperationalError):
        broker.room("q")
