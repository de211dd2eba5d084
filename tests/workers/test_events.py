"""Events of jobs: what Celery's own receiver makes of them on every broker, and that nobody waits for a broker."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from celery import current_app
from celery.events import EventReceiver
from celery.events import state as celery_state
from kombu import Consumer
from prometheus_client import CollectorRegistry

from tests.support import services
from tests.support.celery_app import celery_on
from tests.support.claimed_jobs import claimed_job
from tests.support.forwarding import forwarding
from tests.support.processes import free_port, wait_until
from webhooks.inbox.destinations import known
from webhooks.inbox.outcomes import Outcome
from webhooks.states import AttemptOutcome, JobState
from workers.dispatcher import event_sender, process
from workers.dispatcher.event_sender import EventSender
from workers.dispatcher.events import Event, JobEvents
from workers.dispatcher.reports import LOOK_SECONDS, Reports
from workers.probes.vital_signs import SharedSigns
from workers.runs.channels import Pair
from workers.runs.slots import Running, Slots
from workers.runs.stacks import Stacks

WORKER = "worker-1@host"
FAILED, SUCCEEDED = AttemptOutcome.FAILED, AttemptOutcome.SUCCEEDED
BROKERS = [
    "filesystem",
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    pytest.param("redis", marks=pytest.mark.redis),
]


@pytest.fixture
def sent() -> list[Event]:
    return []


@pytest.fixture
def events(sent: list[Event]) -> JobEvents:
    return JobEvents(WORKER, sent.append)


def end(
    events: JobEvents, outcome: Outcome, state: JobState | None, *, attempt: int = 1, began_at: float = 0.0
) -> None:
    times = {"began_at": began_at, "ended_at": began_at + 1.5}
    events.ended((1, attempt), "shop.count", outcome, state, pid=11, **times)


def kinds(sent: list[Event]) -> list[str]:
    return [event["type"].removeprefix("task-") for event in sent]


# --- What is said of a job --------------------------------------------------------------------------------------------


def test_an_attempt_is_a_task_of_its_handler_that_is_found_by_its_job(events: JobEvents, sent: list[Event]) -> None:
    events.claimed([claimed_job(pk=4711, attempt=2)])
    events.running([Running(4711, 2, 11, time.monotonic(), 0.0, 0.0)])
    assert kinds(sent) == ["received", "started"]
    assert {(event["uuid"], event["name"], event["hostname"]) for event in sent} == {("4711-2", "shop.count", WORKER)}
    assert (sent[0]["args"], sent[0]["retries"], sent[1]["pid"]) == ("(4711,)", 1, 11)


@pytest.mark.parametrize(
    ("outcome", "state", "kind", "said"),
    [
        (Outcome(kind=SUCCEEDED, message="3 labels"), JobState.SUCCEEDED, "succeeded", {"result": "3 labels"}),
        (Outcome(kind=SUCCEEDED), None, "succeeded", {"result": ""}),
        (Outcome(kind=FAILED, message="KeyError: 'a'"), JobState.RETRYING, "retried", {"exception": "KeyError: 'a'"}),
        (Outcome(kind=FAILED, message="KeyError: 'a'"), JobState.DEAD, "failed", {"exception": "KeyError: 'a'"}),
        (Outcome(kind=FAILED, message="KeyError: 'a'"), None, "failed", {"exception": "KeyError: 'a'"}),
        (Outcome(kind=AttemptOutcome.RETRY_LATER), JobState.RETRYING, "retried", {"exception": "retry later"}),
    ],
)
def test_the_last_event_says_how_the_attempt_ended_and_how_long_it_took(
    sent: list[Event], outcome: Outcome, state: JobState | None, kind: str, said: dict[str, str]
) -> None:
    events = JobEvents(WORKER, sent.append)
    events.claimed([claimed_job()])
    end(events, outcome, state, began_at=time.monotonic() - 10)
    assert kinds(sent) == ["received", "started", kind]
    assert sent[-1].items() >= {"runtime": 1.5, "pid": 11, **said}.items()
    assert sent[-1]["timestamp"] - sent[-2]["timestamp"] == pytest.approx(1.5, abs=0.5)
    assert abs(sent[-1]["timestamp"] - (time.time() - 8.5)) < 5


def test_a_start_is_said_once_however_often_the_run_is_seen(events: JobEvents, sent: list[Event]) -> None:
    events.claimed([claimed_job()])
    for _ in range(2):
        events.running([Running(1, 1, 11, 10.0, 0.0, 0.0)])
    end(events, Outcome(kind=FAILED), JobState.DEAD)
    assert kinds(sent) == ["received", "started", "failed"]


def test_a_claim_that_is_given_back_before_it_began_is_taken_back(events: JobEvents, sent: list[Event]) -> None:
    job = claimed_job()
    events.claimed([job])
    events.given_back([job, claimed_job(pk=2)])  # The other one is not known here: its claim was never said.
    assert kinds(sent) == ["received", "revoked"]
    assert not events._not_started


def test_a_run_of_the_dispatcher_before_this_one_ends_without_a_second_start(
    events: JobEvents, sent: list[Event]
) -> None:
    events.running([Running(1, 1, 11, 10.0, 0.0, 0.0)])
    end(events, Outcome(kind=FAILED), JobState.DEAD)
    assert kinds(sent) == ["failed"]


def test_a_long_run_is_said_to_have_started_while_it_goes_on(events: JobEvents, sent: list[Event]) -> None:
    reports, slots = Reports(CollectorRegistry(), events), Slots(2)
    events.claimed([claimed_job()])
    slots.begin(1, 1, 1, pid=11, soft_limit=1.0, hard_limit=2.0)
    reports.look(slots, now=0.0)
    reports.look(slots, now=LOOK_SECONDS)
    assert kinds(sent) == ["received", "started"]


# --- What arrives -----------------------------------------------------------------------------------------------------


def new_state() -> Any:
    return celery_state.State()


def broker_url(name: str) -> str:
    return services.URLS.get(name, "filesystem://")


@contextmanager
def sender(registry: CollectorRegistry | None = None) -> Iterator[EventSender]:
    made = EventSender(registry or CollectorRegistry())
    try:
        yield made
    finally:
        made.close(seconds=60)
        made._drop_connection()


@contextmanager
def listening(state: Any) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Have Celery's receiver hand on events to its state, as Flower does; the yielded function waits for something."""
    with current_app.connection_for_read() as connection, connection.channel() as channel:
        receiver: Any = EventReceiver(channel, handlers={"*": state.event}, app=current_app)
        (consumer,) = receiver.get_consumers(lambda **options: Consumer(channel, **options), channel)

        def wait_for(found: Callable[[], Any]) -> None:
            def drained() -> Any:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)
                return found()

            wait_until(drained, what="the events to arrive")

        with consumer:
            yield wait_for


@pytest.mark.parametrize("broker", BROKERS)
def test_celerys_receiver_sees_each_attempt_with_its_handler_times_and_end(broker: str) -> None:
    state = new_state()
    with celery_on(broker_url(broker)), listening(state) as wait_for, sender() as to_send:
        events = JobEvents(WORKER, to_send.put)
        events.claimed([claimed_job(), claimed_job(attempt=2)])
        end(events, Outcome(kind=FAILED, message="KeyError: 'a'"), JobState.RETRYING, began_at=time.monotonic())
        end(events, Outcome(kind=SUCCEEDED), JobState.SUCCEEDED, attempt=2, began_at=time.monotonic())
        wait_for(lambda: len(state.tasks) == 2 and state.tasks["1-2"].state == "SUCCESS")
        first, second = state.tasks["1-1"], state.tasks["1-2"]
        assert (first.state, first.exception) == ("RETRY", "KeyError: 'a'")
        for task in (first, second):
            assert (task.name, task.worker.hostname, task.args, task.runtime) == ("shop.count", WORKER, "(1,)", 1.5)
            assert task.received
            assert task.started
        assert state.event_count == 6


@pytest.mark.parametrize("broker", BROKERS)
def test_many_events_are_sent_in_few_messages(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_sender, "MOST_TOGETHER", 40)
    state = new_state()
    published: list[int] = []
    with celery_on(broker_url(broker)), listening(state) as wait_for, sender() as to_send:
        publish = to_send._publish

        def note(group: Sequence[Event]) -> None:
            published.append(len(group))
            publish(group)

        monkeypatch.setattr(to_send, "_publish", note)
        JobEvents(WORKER, to_send.put).claimed([claimed_job(pk=pk) for pk in range(100)])
        wait_for(lambda: len(state.tasks) == 100)
    assert sum(published) == 100
    assert max(published) <= 40
    assert len(published) < 20


def test_what_waits_at_the_end_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_sender, "GATHER_SECONDS", 600)
    state = new_state()
    with celery_on("filesystem://"), listening(state) as wait_for:
        with sender() as to_send:
            JobEvents(WORKER, to_send.put).claimed([claimed_job()])
        wait_for(lambda: len(state.tasks) == 1)


@pytest.mark.rabbitmq
def test_rabbitmq_is_not_asked_to_confirm_events() -> None:
    with celery_on(services.RABBITMQ_URL), listening(new_state()), sender() as to_send:
        JobEvents(WORKER, to_send.put).claimed([claimed_job()])
        connection = wait_until(lambda: to_send._connection, what="the sender to connect")
        assert not connection.connection.confirm_publish


# --- A broker that does not take them ---------------------------------------------------------------------------------


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def dropped(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("hookline_worker_events_dropped_total") or 0.0


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_nobody_waits_for_a_broker_that_is_silent_and_what_does_not_fit_is_counted(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(event_sender, "MOST_WAITING", 10)
    monkeypatch.setattr(event_sender, "MOST_TOGETHER", 5)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)), celery_on(f"{scheme}://127.0.0.1:{port}//"):
        to_send = EventSender(registry)
        JobEvents(WORKER, to_send.put).claimed([claimed_job(pk=pk) for pk in range(100)])
        at_once = dropped(registry)
        assert at_once >= 85
        wait_until(lambda: dropped(registry) > at_once, what="a group to be given up")
        to_send.close(seconds=0.01)
        to_send._thread.join(60)
    assert not to_send._thread.is_alive()


@pytest.mark.rabbitmq
def test_events_are_sent_again_once_the_broker_is_back(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sender, "PAUSE_SECONDS", 0.0)
    state, port = new_state(), free_port()
    with (
        celery_on(services.RABBITMQ_URL),
        listening(state) as wait_for,
        forwarding(services.RABBITMQ_URL, port=port) as line,
        celery_on(line.url),
        sender(registry) as to_send,
    ):
        events = JobEvents(WORKER, to_send.put)
        events.claimed([claimed_job(pk=1)])
        wait_for(lambda: len(state.tasks) == 1)
        line.cut()

        def is_counted() -> bool:
            events.claimed([claimed_job(pk=2)])
            return dropped(registry) > 0

        wait_until(is_counted, what="an event to be dropped")
        line.mend()
        events.claimed([claimed_job(pk=3)])
        wait_for(lambda: "3-1" in state.tasks)


def test_an_error_that_nobody_foresaw_costs_events_and_not_the_dispatcher(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_sender, "PAUSE_SECONDS", 0.0)
    to_send = EventSender(registry)

    def fail(_group: Sequence[Event]) -> None:
        raise KeyError

    monkeypatch.setattr(to_send, "_publish", fail)
    to_send.put({"type": "task-received"})
    wait_until(lambda: dropped(registry) == 1, what="the event to be dropped")
    assert to_send._thread.is_alive()
    to_send.close(seconds=60)
    assert "events cannot be sent (KeyError at " in caplog.records[0].__dict__["reason"]


# --- The setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_on", [True, False])
def test_events_that_are_off_cost_neither_a_thread_nor_a_connection(
    settings: Any, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    settings.HOOKLINE_JOB_EVENTS = is_on
    seen: list[tuple[Reports, set[str]]] = []

    class Served:
        def __init__(self, *, reports: Reports, **_options: Any) -> None:
            seen.append((reports, {thread.name for thread in threading.enumerate()}))

        def run(self) -> None:
            """Do nothing."""

    monkeypatch.setattr(process, "Dispatcher", Served)
    monkeypatch.setattr(known, "start_watching", lambda _run: None)
    control = Pair()
    before = {thread.name for thread in threading.enumerate()}
    process.serve(
        worker=WORKER, slots=Slots(1), stacks=Stacks(0), pairs=[], control=control.dispatcher, signs=SharedSigns(),
        beat=lambda: None, server=None, started_at_seconds=0.0, is_first=True,
    )  # fmt: skip
    control.close()
    ((reports, threads),) = seen
    assert (reports._events is not None) is is_on
    assert ("events" in threads - before) is is_on
