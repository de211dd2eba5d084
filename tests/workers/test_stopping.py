"""How a worker stops: real processes on each broker, told to stop at every awkward moment."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
from billiard import pool
from django.core.checks import run_checks

from tests.support.brokers import FOR_PROGRAMS, repeated
from tests.support.processes import ROOT, free_port, manage, wait_until
from tests.support.stack import Stack, running_stack
from webhooks.subscriptions.subscription import Defaults, Subscriptions, discover
from workers.stopping.checks import grace_warnings, lifetime_warnings
from workers.stopping.flag import STAY_DOWN
from workers.stopping.grace import Grace
from workers.stopping.times import margin_seconds

GRACE_SECONDS = 5.0
INTERRUPTED_AFTER = GRACE_SECONDS - margin_seconds(GRACE_SECONDS)


GRACE = {"HOOKLINE_GRACE_SECONDS": str(GRACE_SECONDS), "HOOKLINE_LEASE_MARGIN_SECONDS": "1"}


@pytest.fixture(scope="module", params=FOR_PROGRAMS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A receiver, and workers as the tests start them. No relay: what is handed back is on the broker, or waits."""
    with running_stack(tmp_path_factory.mktemp("stack"), database="sqlite", broker=request.param, **GRACE) as stack:
        serve(stack)
        yield stack


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the worker that a test leaves if it fails, and skip its jobs: the next one's worker would take them first."""
    yield
    if "stack" in request.fixturenames:
        stack = request.getfixturevalue("stack")
        stack.stop_all("worker")
        left = "state NOT IN ('succeeded', 'dead', 'skipped')"
        stack.rows(f"UPDATE webhooks_job SET state = 'skipped', publish_at = NULL WHERE {left} RETURNING id")


embedded = pytest.mark.parametrize("stack", ["filesystem"], indirect=True)


def serve(stack: Stack) -> None:
    stack.migrate()
    stack.start("receiver")
    stack.wait_until_ready()


def log_of_the_last(stack: Stack) -> str:
    return (stack.directory / f"worker-{len(stack.processes) - 1}.log").read_text()


def started_worker(stack: Stack, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
    worker = stack.start("worker", "--concurrency", "2", *arguments, **environment)
    wait_until(lambda: " ready." in log_of_the_last(stack), what="the worker to consume")
    return worker


def with_running(stack: Stack, action: str, *, count: int = 1, running: int = 1, **payload: Any) -> str:
    """Send so many deliveries, wait until so many of their handlers run, and return the SQL that selects all jobs."""
    ids = [stack.send(action, **payload)[1]["delivery"] for _ in range(count)]
    wait_until(lambda: len(stack.running_pids(ids)) == running, what=f"{running} handlers to run")
    return of_deliveries(ids)


def of_deliveries(ids: Iterable[int]) -> str:
    return f"FROM webhooks_job WHERE delivery_id IN ({', '.join(map(str, ids))})"


def seconds_to_exit(worker: "subprocess.Popen[bytes]", *signals: signal.Signals) -> float:
    """Send the signals and return how long the worker took to exit with 0."""
    started = time.monotonic()
    for number in signals:
        worker.send_signal(number)
    assert worker.wait(timeout=60) == 0
    return time.monotonic() - started


def test_near_the_end_of_the_grace_what_still_runs_is_handed_back_and_what_is_stubborn_recorded_as_lost(
    stack: Stack,
) -> None:
    worker = started_worker(stack)
    willing, stubborn = with_running(stack, "work", seconds=7.9), with_running(stack, "stubborn")
    took = seconds_to_exit(worker, signal.SIGTERM)
    # The upper bound is wide, for a busy machine. KILL would come at the end of the grace.
    assert INTERRUPTED_AFTER <= took < GRACE_SECONDS + 2
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt, forgiven {willing}") == [("retrying", 1, 1)]
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt, forgiven, lost {stubborn}") == [
        ("retrying", 1, 0, 1)
    ]
    assert stack.marks("swallowed").total() == 1


def test_term_lets_handlers_finish_takes_no_more_jobs_and_hands_back_what_was_prefetched(stack: Stack) -> None:
    worker = started_worker(stack)
    of_running = with_running(stack, "work", count=2, running=2, seconds=3)
    of_others = of_deliveries(stack.send("work")[1]["delivery"] for _ in range(6))
    worker.send_signal(signal.SIGTERM)
    if stack.broker_url:
        # On the embedded broker the parent waits at the pool with one message, which the child refuses.
        wait_until(lambda: depth(stack) == 6, what="six messages on the queue")
        assert worker.poll() is None
    assert worker.wait(timeout=30) == 0
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt {of_running}") == [("succeeded", 1)] * 2
    # Those that were claimed ahead have a higher number, but nothing of their budget is spent.
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt {of_others}") == [("queued", 0)] * 6


def depth(stack: Stack) -> int:
    with kombu.Connection(stack.broker_url) as connection:
        declared = connection.default_channel.queue_declare("trial", passive=True)  # type: ignore[attr-defined]
        return int(declared.message_count)


@embedded
def test_quit_means_now_even_to_a_handler_that_swallows_it(stack: Stack) -> None:
    worker = started_worker(stack)
    willing, stubborn = with_running(stack, "work", seconds=7.9), with_running(stack, "stubborn")
    assert seconds_to_exit(worker, signal.SIGQUIT) < INTERRUPTED_AFTER
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt, forgiven {willing}") == [("retrying", 1, 1)]
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt, forgiven, lost {stubborn}") == [
        ("retrying", 1, 0, 1)
    ]


@embedded
def test_a_handler_can_ask_whether_its_worker_stops_and_a_second_term_changes_nothing(stack: Stack) -> None:
    worker = started_worker(stack)
    of_job = with_running(stack, "watch")
    seconds_to_exit(worker, signal.SIGTERM, signal.SIGTERM)
    assert stack.rows(f"SELECT state, result {of_job}") == [("succeeded", "told to stop")]


@embedded
@pytest.mark.slow
def test_hup_is_a_warm_stop_like_term(stack: Stack) -> None:
    worker = started_worker(stack)
    of_job = with_running(stack, "watch")
    seconds_to_exit(worker, signal.SIGHUP)
    assert stack.rows(f"SELECT state, result {of_job}") == [("succeeded", "told to stop")]


@embedded
def test_at_the_end_of_its_lifetime_a_worker_stops_warmly_and_exits_0(stack: Stack) -> None:
    worker = started_worker(stack, HOOKLINE_WORKER_MAX_SECONDS="4")
    of_job = with_running(stack, "watch")
    assert worker.wait(timeout=30) == 0
    assert stack.rows(f"SELECT state, result {of_job}") == [("succeeded", "told to stop")]
    log = log_of_the_last(stack)
    assert "worker will stop by itself  in_seconds=" in log
    assert "HOOKLINE_WORKER_MAX_SECONDS is 4: Kubernetes backs off on every exit" in log
    assert "may run for 60 s, and a worker that stops interrupts and hands back what still runs after 3.33 s." in log


@embedded
@pytest.mark.slow
def test_term_while_children_are_being_replaced_is_a_warm_stop_like_any_other(stack: Stack) -> None:
    worker = started_worker(stack, HOOKLINE_CHILD_MAX_JOBS="1")
    for _ in range(4):
        stack.send("work")
    of_job = with_running(stack, "work", seconds=2)
    seconds_to_exit(worker, signal.SIGTERM)
    # It may have been claimed for a child that was replaced first, at no cost.
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt {of_job}") == [("succeeded", 1)]


@embedded
@pytest.mark.parametrize("moment", ["celery", repeated("banner")])
def test_term_during_the_start_is_kept_until_it_is_heard_and_the_worker_exits_0(stack: Stack, moment: str) -> None:
    worker = stack.start("worker", "--concurrency", "2")
    if moment == "celery":
        command = Path(f"/proc/{worker.pid}/cmdline")
        wait_until(lambda: b"\0workers\0" in command.read_bytes(), what="the worker to become Celery")
    else:
        wait_until(lambda: "[tasks]" in log_of_the_last(stack), what="Celery's banner")
    seconds_to_exit(worker, signal.SIGTERM)


@embedded
def test_term_while_the_broker_is_down_ends_the_wait_for_it(stack: Stack) -> None:
    worker = stack.start("worker", BROKER_URL=f"amqp://127.0.0.1:{free_port()}//")
    wait_until(lambda: "worker waits" in log_of_the_last(stack), what="the broker to be missed")
    seconds_to_exit(worker, signal.SIGTERM)


@embedded
def test_term_while_the_broker_is_silent_ends_within_the_grace(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        worker = stack.start("worker", BROKER_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with silent.accept()[0]:
            seconds_to_exit(worker, signal.SIGTERM)


def test_a_worker_that_cannot_start_fails(tmp_path: Path) -> None:
    assert manage("worker", HOOKLINE_DATA_DIR=tmp_path, HOOKLINE_GRACE_SECONDS="soon").returncode == 1


@embedded
def test_a_worker_whose_start_fails_inside_celery_fails(stack: Stack) -> None:
    command = [sys.executable, "-m", "workers", "--app", "project", "worker", "--queues", "nobodys"]
    failed = subprocess.run(command, env=stack.settings(), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1


class LeftError(Exception):
    """In place of the process's exit, which these tests outlive."""


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[..., None]:
    """Have a worker with these processes in its pool come to the end of its grace."""

    def leave(status: int) -> None:
        raise LeftError(status)

    def end(*processes: Any) -> None:
        worker: Any = SimpleNamespace(
            app=SimpleNamespace(steps={"consumer": set()}), pool=SimpleNamespace(_pool=SimpleNamespace(_pool=processes))
        )
        worker.exitcode = STAY_DOWN
        with pytest.raises(LeftError, match=str(STAY_DOWN)):
            Grace(worker)._guard()

    settings.HOOKLINE_GRACE_SECONDS = GRACE_SECONDS
    monkeypatch.setattr("workers.stopping.grace.open_stop_pipe", lambda: 0)
    monkeypatch.setattr("workers.stopping.grace.is_stopping", lambda: True)
    monkeypatch.setattr("workers.stopping.grace.stopping_since", lambda: time.monotonic() - GRACE_SECONDS)
    monkeypatch.setattr("workers.stopping.grace.os._exit", leave)
    return end


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        yield child
        child.kill()


def test_a_process_that_is_just_being_started_keeps_no_other_from_its_end(
    ending: Callable[..., None], child: "subprocess.Popen[bytes]"
) -> None:
    ending(SimpleNamespace(pid=None), child)
    assert child.wait(timeout=10) == -signal.SIGTERM


def test_the_parent_leaves_although_a_child_may_not_be_signalled_and_no_thread_is_to_be_had(
    ending: Callable[..., None], child: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled = []

    def refuse(_pid: int, number: int) -> None:
        signalled.append(number)
        raise PermissionError

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr("workers.stopping.grace.os.kill", refuse)
        patched.setattr("workers.stopping.grace.os.killpg", refuse)
        patched.setattr("workers.stopping.grace.threading.Thread.start", start)
        ending(child, child)
    assert signalled == [signal.SIGTERM] * 2 + [signal.SIGKILL] * 2


def test_the_parent_leaves_whatever_becomes_of_the_rest(ending: Callable[..., None]) -> None:
    ending("no process at all")


def with_time_limit(seconds: float) -> Subscriptions:
    from tests.apps.trial import handlers

    return discover([("trial", handlers)], defaults=Defaults(queue="default", time_limit=seconds, max_attempts=1))


def test_a_lifetime_that_makes_kubernetes_back_off_is_warned_of() -> None:
    (warning,) = lifetime_warnings(899)
    assert warning.id == "workers.W001"
    assert not list(lifetime_warnings(900))
    assert not list(lifetime_warnings(0))


def test_a_grace_too_short_for_the_longest_handler_is_warned_of_by_its_name() -> None:
    longest = max(with_time_limit(60), key=lambda subscription: subscription.time_limit)
    (warning,) = grace_warnings(with_time_limit(60), grace_seconds=longest.time_limit + 4.9)
    assert warning.id == "workers.W002"
    assert f"Subscription {longest.name!r} may run for {longest.time_limit:g} s" in warning.msg
    assert not list(grace_warnings(with_time_limit(60), grace_seconds=longest.time_limit + 5))
    assert not list(grace_warnings(Subscriptions(), grace_seconds=5))


def test_the_defaults_deserve_no_warning() -> None:
    assert [check.id for check in run_checks(tags=["workers"])] == []


def test_the_wait_that_is_shortened_has_the_name_that_it_had() -> None:
    assert {"GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL"} <= vars(pool).keys()
    assert {"_ensure_messages_consumed"} <= vars(pool.Worker).keys()
