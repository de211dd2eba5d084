"""The relay's work that takes no broker: jobs whose handler is elsewhere, and a thread that no broker holds."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tests.publishing.test_relay import SUBSCRIPTION
from tests.support import services
from tests.support.inbox_rows import make_job
from tests.support.process_ends import ProcessEnd
from tests.support.processes import wait_until
from webhooks.models import Job
from webhooks.publishing import gauges as queue_gauges
from webhooks.publishing import health as relay_health
from webhooks.publishing import strays
from webhooks.publishing.broker import Broker
from webhooks.publishing.gauges import InboxGauges
from webhooks.publishing.health import RelayHealth
from webhooks.publishing.relay import Relay
from webhooks.publishing.strays import Strays
from webhooks.publishing.upkeep import Upkeep
from webhooks.states import JobState
from webhooks.subscriptions.subscription import Subscriptions
from webhooks.threads import start_thread

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

SUBSCRIPTIONS = Subscriptions([SUBSCRIPTION])


def waiting(handler: str = "app.handle", queue: str = "trial", **columns: Any) -> Job:
    due = {"due_at": Now() - timedelta(hours=1), "publish_at": Now() - timedelta(hours=1)}
    return make_job(JobState.QUEUED, handler=handler, queue=queue, **due | columns)


def new_strays(*, gone_seconds: float = 0.0) -> Strays:
    return Strays(SUBSCRIPTIONS, health=RelayHealth(threading.Event()), gone_seconds=gone_seconds)


def queues() -> list[str]:
    return list(Job.objects.order_by("pk").values_list("queue", flat=True))


# --- Strays -----------------------------------------------------------------------------------------------------------


def test_a_job_whose_handler_is_unknown_waits_for_a_release_to_roll_out_and_is_then_dead() -> None:
    job = waiting("app.renamed")
    new_strays(gone_seconds=600).step()
    assert Job.objects.get(pk=job.pk).state == JobState.QUEUED
    new_strays().step()
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DEAD, "No installed app has a handler named app.renamed.")


@pytest.mark.parametrize("moments", ["one", "many"])
def test_a_backlog_is_looked_through_slice_by_slice_and_again_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch, moments: str
) -> None:
    monkeypatch.setattr(strays, "SLICE", 3)
    for _ in range(8):
        waiting()
    if moments == "one":
        Job.objects.update(publish_at=Now() - timedelta(hours=1))
    # None of them is to move, and none may hide the one behind that is.
    last = waiting("app.gone", publish_at=Now())
    looking, states = new_strays(), []
    for _ in range(3):
        states.append(Job.objects.get(pk=last.pk).state)
        looking.step()
    assert Job.objects.get(pk=last.pk).state == JobState.DEAD
    assert states == [JobState.QUEUED] * 3
    first = Job.objects.order_by("publish_at", "pk").filter(state=JobState.QUEUED)[0]
    Job.objects.filter(pk=first.pk).update(handler="app.gone")
    looking.step()
    looking.step()
    assert Job.objects.get(pk=first.pk).state == JobState.DEAD


def test_two_relays_that_move_the_same_jobs_do_not_wait_for_each_other() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    held, free = waiting(queue="left"), waiting(queue="left")
    with psycopg.connect(services.POSTGRES_URL, dbname=connection.settings_dict["NAME"]) as other:
        other.execute("SELECT 1 FROM webhooks_job WHERE id = %s FOR UPDATE", [held.pk])
        new_strays().step()
        assert Job.objects.get(pk=held.pk).queue == "left"
    assert Job.objects.get(pk=free.pk).queue == "trial"
    new_strays().step()
    assert Job.objects.get(pk=held.pk).queue == "trial"


# --- Beside a broker that holds the publishing ------------------------------------------------------------------------


class HeldBroker(Broker):
    """A broker that answers nothing until the test lets it."""

    def __init__(self, *, is_released: bool = False) -> None:
        super().__init__()
        self.is_asked, self.release = threading.Event(), threading.Event()
        if is_released:
            self.release.set()

    def room(self, queue: str) -> int:
        self.is_asked.set()
        self.release.wait(60)
        return 0


@pytest.fixture
def held() -> Iterator[tuple[RelayHealth, InboxGauges]]:
    """A relay whose broker holds it, at work on a thread; its health and gauges."""
    stop, broker = threading.Event(), HeldBroker()
    waiting()
    health, gauges = RelayHealth(stop), InboxGauges([])
    health.registry.register(gauges)
    relay = Relay(SUBSCRIPTIONS, stop=stop, broker=broker, health=health, gauges=gauges)
    thread = threading.Thread(target=relay.run)
    thread.start()
    assert broker.is_asked.wait(60)
    yield health, gauges
    stop.set()
    broker.release.set()
    thread.join()


def test_a_broker_that_holds_the_publishing_holds_neither_gauges_nor_leases_nor_moves(
    held: tuple[RelayHealth, InboxGauges], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_gauges, "READ_SECONDS", 0.0)
    health, _ = held
    lost = make_job(JobState.RUNNING, handler="app.handle", attempt=1, lease_until=Now() - timedelta(seconds=1))
    moved = waiting(queue="left")
    told = partial(health.registry.get_sample_value, "hookline_queue_waiting_jobs", {"queue": "trial"})
    # Two, or three once the lost run is due again, which is at a moment drawn at random.
    wait_until(lambda: (told() or 0) >= 2, what="the gauge tells of the moved job")
    wait_until(lambda: Job.objects.get(pk=lost.pk).state == JobState.RETRYING, what="the lease is over")
    assert Job.objects.get(pk=moved.pk).queue == "trial"
    assert health.live() == []


def test_a_relay_that_its_broker_holds_says_that_the_broker_is_not_there(
    held: tuple[RelayHealth, InboxGauges], monkeypatch: pytest.MonkeyPatch
) -> None:
    health, _ = held
    assert health.registry.get_sample_value("hookline_relay_broker_available") == 1
    monkeypatch.setattr(relay_health, "HELD_SECONDS", 0.0)
    assert health.registry.get_sample_value("hookline_relay_broker_available") == 0


def test_an_upkeep_that_fails_by_a_fault_of_its_own_ends_the_relays_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    end = ProcessEnd(monkeypatch, has_come=stop)

    def fault(_strays: Strays) -> bool:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(Strays, "step", fault)
    Relay(SUBSCRIPTIONS, stop=stop, broker=Broker()).run()
    assert end.statuses == [1]
    assert "thread failed; the process ends" in caplog.messages


def test_an_upkeep_without_its_database_waits_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, steps = threading.Event(), iter([OperationalError("away"), None])

    def step(_strays: Strays) -> bool:
        if (error := next(steps)) is not None:
            raise error
        stop.set()
        return False

    monkeypatch.setattr(Strays, "step", step)
    upkeep = Upkeep(new_strays(), stop=stop, health=RelayHealth(stop), gauges=None)
    start_thread("upkeep", upkeep.run).join(60)
    assert stop.is_set()
    assert "upkeep waits" in caplog.messages


def test_no_statement_of_a_relay_relies_on_a_session_so_a_pooler_by_transaction_will_do() -> None:
    handler = replace(SUBSCRIPTION, queue="elsewhere")
    stop = threading.Event()
    relay = Relay(Subscriptions([handler]), stop=stop, broker=HeldBroker(is_released=True), gauges=InboxGauges([]))
    make_job(JobState.RUNNING, handler="app.handle", attempt=1, lease_until=Now() - timedelta(seconds=1))
    waiting()
    waiting("app.gone", queue="elsewhere")
    with CaptureQueriesContext(connection) as asked:
        relay._upkeep.step()
        relay.round()
    verbs = {query["sql"].split()[0] for query in asked.captured_queries}
    assert verbs - {"BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "WITH", "INSERT", "DELETE"} == {"SELECT", "UPDATE"}


def test_an_idle_relay_asks_the_inbox_four_things_a_second_and_the_broker_nothing() -> None:
    broker = HeldBroker()
    relay = Relay(SUBSCRIPTIONS, stop=threading.Event(), broker=broker, gauges=InboxGauges(["trial"]))
    waiting(publish_at=Now() + timedelta(hours=1))

    def selects() -> int:
        with CaptureQueriesContext(connection) as asked:
            relay._upkeep.step()
            _, pause = relay.round()
        assert pause == 1.0
        return sum(query["sql"].startswith("SELECT") for query in asked.captured_queries)

    selects()  # Gauges and strays read every five seconds, and retention goes through the deliveries once an hour.
    Job.objects.all().delete()
    assert selects() == 4
    assert not broker.is_asked.is_set()
