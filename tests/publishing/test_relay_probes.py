"""The relay's probes and metrics, and what it tells an autoscaler of the queues."""

import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import CollectorRegistry

from tests.support.brokers import repeated
from tests.support.forwarding import forwarding
from tests.support.inbox_rows import make_job
from tests.support.probing import Probed
from tests.support.processes import free_port, manage, wait_until
from tests.support.stack import running_stack
from webhooks.inbox import dead, due
from webhooks.models import Job
from webhooks.probe_server import Health, ProbeServer
from webhooks.publishing import gauges as queue_gauges
from webhooks.publishing import health as relay_health
from webhooks.publishing.gauges import InboxGauges
from webhooks.publishing.health import RelayHealth
from webhooks.states import JobState

database = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]
WAITING = 'hookline_queue_waiting_jobs{queue="default"}'


def told_by(gauges: InboxGauges) -> dict[tuple[str, str], float]:
    """Return each gauge's samples, by the gauge's last word and the queue."""
    return {
        (sample.name.removeprefix("hookline_queue_"), sample.labels.get("queue", "")): sample.value
        for metric in gauges.collect()
        for sample in metric.samples
    }


def ago(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)


class TestInboxGauges:
    pytestmark = database

    def test_what_is_due_and_not_running_waits(self) -> None:
        make_job(JobState.QUEUED, publish_at=ago(100))
        make_job(JobState.RETRYING, publish_at=ago(300))
        make_job(JobState.RETRYING, publish_at=ago(-10))
        make_job(JobState.RETRYING, publish_at=ago(-3600))
        make_job(JobState.RUNNING, due_at=ago(500))
        make_job(JobState.DEAD, due_at=ago(500))
        make_job(JobState.QUEUED, queue="io", publish_at=ago(7))
        gauges = InboxGauges(["default"])
        gauges.step()
        told = told_by(gauges)
        assert told["hookline_dead_jobs", ""] == 1
        assert (told["waiting_jobs", "default"], told["waiting_jobs", "io"]) == (2, 1)
        assert told["oldest_waiting_seconds", "default"] == pytest.approx(300, abs=30)
        assert told["oldest_waiting_seconds", "io"] == pytest.approx(7, abs=30)

    def test_a_queue_that_emptied_falls_to_0_and_one_that_never_held_a_job_is_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue_gauges, "READ_SECONDS", 0.0)
        make_job(JobState.QUEUED, queue="io", publish_at=ago(1))
        gauges = InboxGauges(["default"])
        gauges.step()
        assert told_by(gauges)["waiting_jobs", "io"] == 1
        Job.objects.update(state=JobState.SUCCEEDED, publish_at=None)
        gauges.step()
        assert set(told_by(gauges).values()) == {0}
        assert {queue for _, queue in told_by(gauges)} == {"default", "io", ""}

    def test_a_backlog_is_counted_up_to_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(due, "SAMPLE", 4)
        monkeypatch.setattr(dead, "SAMPLE", 3)
        for _ in range(6):
            make_job(JobState.QUEUED, publish_at=ago(1))
            make_job(JobState.DEAD)
        gauges = InboxGauges([])
        gauges.step()
        assert told_by(gauges)["waiting_jobs", "default"] == 4
        assert told_by(gauges)["hookline_dead_jobs", ""] == 3

    def test_it_reads_seldom_and_tells_nothing_that_is_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gauges = InboxGauges(["default"])
        assert told_by(gauges) == {}
        gauges.step()
        make_job(JobState.QUEUED, publish_at=ago(1))
        gauges.step()
        assert told_by(gauges)["waiting_jobs", "default"] == 0
        monkeypatch.setattr(queue_gauges, "FRESH_SECONDS", 0.0)
        assert told_by(gauges) == {}

    def test_its_plan_on_postgresql_is_a_range_of_the_index(self) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("PostgreSQL's plan")
        delivery = make_job(JobState.SUCCEEDED).delivery
        Job.objects.bulk_create(
            Job(delivery=delivery, handler=f"h{number}", queue="default", max_attempts=1, publish_at=timezone.now())
            for number in range(3000)
        )
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE webhooks_job")
        sample = Job.objects.filter(queue="default", publish_at__lte=Now()).order_by("publish_at", "id")[:100]
        plan = sample.explain()
        assert "job_publish" in plan
        assert "Sort" not in plan

    def test_dead_jobs_are_counted_by_their_own_index(self) -> None:
        delivery = make_job(JobState.SUCCEEDED).delivery
        Job.objects.bulk_create(
            Job(
                delivery=delivery,
                handler=f"h{number}",
                queue="default",
                max_attempts=1,
                state=JobState.DEAD if number % 10 == 0 else JobState.SUCCEEDED,
                finished_at=timezone.now(),
            )
            for number in range(3000)
        )
        explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE webhooks_job")
            with CaptureQueriesContext(connection) as captured:
                assert dead.count_dead() == 300
            cursor.execute(f"{explain} {captured[0]['sql']}")
            plan = str(cursor.fetchall())
        assert "job_dead" in plan
        assert "Seq Scan" not in plan


# --- The probes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [relay_health.UPKEEP, relay_health.PUBLISHING])
def test_a_relay_that_waits_out_an_outage_is_live_and_one_whose_loop_is_held_is_not(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    health = RelayHealth(threading.Event())
    assert (health.live(), health.started()) == ([], ["its loops have not begun"])
    health.heartbeat(loop)
    health.failed("database", "the database is read-only")
    assert (health.live(), health.started()) == ([], [])
    assert health.ready() == ["has relayed nothing yet: the database is read-only"]
    monkeypatch.setitem(relay_health.SILENT_SECONDS, loop, 0.0)
    (fault,) = health.live()
    assert fault.startswith(f"its {loop} has not turned for ")


@pytest.mark.postgres
def test_a_relay_without_a_database_is_live_not_ready_and_tells_no_old_gauges(tmp_path: Path) -> None:
    with (
        running_stack(tmp_path, database="postgres", broker="filesystem") as stack,
        forwarding(stack.database_url) as far,
    ):
        far.cut()
        stack.migrate()
        probes = Probed(free_port())
        relay = stack.start("relay", HOOKLINE_PROBE_PORT=str(probes.port), DATABASE_URL=far.url)
        wait_until(lambda: probes.status("/startupz") == 200, what="the relay has started")
        failed = 'hookline_relay_failed_rounds_total{of="database"}'
        wait_until(lambda: (probes.metric(failed) or 0) > 2, what="rounds have failed")
        assert probes.is_live()
        assert probes.faults("/readyz") == [
            "has relayed nothing yet: the database refuses the connection: nothing listens there"
        ]
        assert probes.metric(WAITING) is None
        far.mend()
        wait_until(probes.is_ready, what="the relay is ready")
        wait_until(lambda: probes.metric(WAITING) == 0, what="the gauges are there")
        far.cut()
        before = probes.metric(failed) or 0
        wait_until(lambda: (probes.metric(failed) or 0) > before, what="rounds fail again")
        assert probes.is_ready()
        assert probes.is_live()
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(20) == 0
        assert "GET /" not in stack.logs()


def test_a_relay_counts_the_messages_that_it_publishes(tmp_path: Path) -> None:
    with running_stack(tmp_path, database="sqlite", broker="filesystem") as stack:
        stack.migrate()
        stack.start("receiver", BROKER_URL="amqp://127.0.0.1:1//")
        stack.wait_until_ready()
        assert stack.send("work")[0] == 202
        probes = Probed(free_port())
        stack.start("relay", HOOKLINE_PROBE_PORT=str(probes.port))
        wait_until(probes.is_ready, what="the relay is ready")
        published = "hookline_relay_messages_published_total"
        wait_until(lambda: (probes.metric(published) or 0) >= 1, what="the job is published and counted")
        wait_until(
            lambda: probes.metric('hookline_queue_waiting_jobs{queue="trial"}') == 1, what="the queue's gauge tells it"
        )


def test_a_relay_whose_probe_port_is_taken_says_so_and_does_not_start(tmp_path: Path) -> None:
    with forwarding("http://127.0.0.1:1") as taken:
        done = manage("relay", HOOKLINE_DATA_DIR=tmp_path, HOOKLINE_PROBE_PORT=taken.url.rpartition(":")[2])
    assert done.returncode == 1
    assert "HOOKLINE_PROBE_PORT: nothing can be served there (Address already in use)." in done.stderr


def test_a_prober_that_sends_nothing_keeps_nobody_waiting() -> None:
    probes = Health(live=list, ready=list, started=list, registry=CollectorRegistry())
    with ProbeServer(probes, host="127.0.0.1", port=0) as server:
        server.start()
        port = server.server_address[1]
        with forwarding(f"http://127.0.0.1:{port}"):
            began = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez?verbose", timeout=20) as answer:
                assert answer.read() == b'{"status": "live", "faults": []}'
            assert time.monotonic() - began < 20
        head = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", method="HEAD")
        with urllib.request.urlopen(head, timeout=20) as answer:
            assert (answer.status, answer.read()) == (200, b"")
        server.shutdown()


# --- The broker away --------------------------------------------------------------------------------------------------


@contextmanager
def silent_broker(scheme: str) -> Iterator[str]:
    """Yield the URL of a broker that accepts connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"{scheme}127.0.0.1:{silent.getsockname()[1]}/"


DATABASES = ["sqlite", repeated("postgres", marks=pytest.mark.postgres)]


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("away", [repeated("refused"), "amqp://guest:guest@", repeated("redis://")])
def test_while_the_broker_is_away_the_queues_are_told_leases_end_and_the_alert_is_the_brokers(
    tmp_path: Path, database: str, away: str
) -> None:
    with (
        nullcontext("amqp://127.0.0.1:1/") if away == "refused" else silent_broker(away) as url,
        running_stack(tmp_path, database=database, broker="filesystem") as stack,
    ):
        stack.migrate()
        stack.run_module("tests.support.programs.insert_due_jobs")
        probes = Probed(free_port())
        stack.start("relay", HOOKLINE_PROBE_PORT=str(probes.port), BROKER_URL=url)
        wait_until(lambda: probes.status("/startupz") == 200, what="the relay has started")
        failed = 'hookline_relay_failed_rounds_total{of="broker"}'
        wait_until(lambda: (probes.metric(failed) or 0) > 0, what="rounds have failed")
        waiting = 'hookline_queue_waiting_jobs{queue="trial"}'
        wait_until(lambda: probes.metric(waiting) == 4, what="the gauge has the moved job and the lost run too")
        oldest = probes.metric('hookline_queue_oldest_waiting_seconds{queue="trial"}')
        assert oldest is not None
        assert oldest > 3000
        assert probes.metric("hookline_relay_broker_available") == 0
        assert probes.is_live()
        assert stack.rows("SELECT count(*) FROM webhooks_job WHERE queue = 'trial' AND state <> 'running'") == [(4,)]
