"""`manage.py stop_workers`, and the supervisors that act on a worker's exit status: systemd's and Supervisor's."""

import configparser
import io
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app
from django.core.management import call_command
from django.core.management.base import CommandError

from project.settings import HOOKLINE_GRACE_SECONDS
from tests.support.brokers import FOR_PROGRAMS
from tests.support.inbox_rows import make_job
from tests.support.processes import ROOT, free_port, manage, wait_until
from tests.support.stack import Stack, running_stack
from webhooks.models import Attempt, Job
from webhooks.states import JobState
from workers.stopping.flag import STAY_DOWN
from workers.stopping.remote_stop import SILENT_ROUNDS, RemoteStop, running_jobs

SYSTEMD = ROOT / "deploy" / "systemd"
SUPERVISOR = ROOT / "deploy" / "supervisor" / "hookline.conf"


@pytest.fixture(scope="module", params=FOR_PROGRAMS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("fleet"), database="sqlite", broker=request.param) as stack:
        stack.migrate()
        stack.start("receiver")
        stack.wait_until_ready()
        yield stack


def started(stack: Stack, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    worker = stack.start("worker", "--concurrency", "2", "--name", f"{name}@test", *arguments)
    log = stack.directory / f"worker-{len(stack.processes) - 1}.log"
    wait_until(lambda: f"{name}@test ready." in log.read_text(), what="the worker to consume")
    return worker


def stopping(stack: Stack, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "manage.py", "stop_workers", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=stack.settings(), cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
def test_the_fleet_stops_after_its_jobs_and_one_that_is_started_meanwhile_is_left_alone(stack: Stack) -> None:
    busy = started(stack, "busy")
    stack.send("watch", seconds=12)
    wait_until(lambda: stack.states()["running"], what="the handler to run")
    command = stopping(stack, "--wait")
    wait_until(lambda: "worker stops: it was asked to" in stack.logs(), what="the command to have begun")
    fresh = started(stack, "fresh", "--queues", "default")
    printed, errors = command.communicate(timeout=60)
    assert (command.returncode, errors, busy.wait(timeout=5)) == (0, "", 0)
    lines = printed.splitlines()
    assert (lines[0], lines[-1]) == ("1 worker asked to stop after the current jobs.", "All of them are gone.")
    assert "1 worker still there: busy@test (1 job)" in lines
    assert stack.states()["running"] == 0

    assert fresh.poll() is None
    last = stopping(stack, "--queue", "default", "--stay-down")
    assert last.communicate(timeout=60) == ("1 worker asked to stop after the current jobs.\n", "")
    assert fresh.wait(timeout=30) == STAY_DOWN


@pytest.mark.parametrize("stack", ["filesystem"], indirect=True)
@pytest.mark.slow
def test_at_the_timeout_it_says_who_is_left(stack: Stack) -> None:
    worker = started(stack, "busy")
    stack.send("stubborn")
    wait_until(lambda: stack.states()["running"], what="the handler to run")
    command = stopping(stack, "--wait", "--timeout", "5")
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 1
    assert errors == "CommandError: Not all are gone at the timeout. 1 worker still there: busy@test (1 job).\n"
    worker.kill()
    worker.wait(timeout=30)
    silent = stopping(stack)
    assert silent.communicate(timeout=60)[1] == "CommandError: No worker answers, but jobs still run on busy@test.\n"


def test_a_queue_that_no_handler_uses_is_refused(tmp_path: Path) -> None:
    refused = manage("stop_workers", "--queue", "trail", HOOKLINE_DATA_DIR=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "CommandError: No handler uses the queue 'trail'; there are default.\n"


def test_a_broker_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    url = f"amqp://127.0.0.1:{free_port()}//"
    refused = manage("stop_workers", HOOKLINE_DATA_DIR=tmp_path, BROKER_URL=url)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == "CommandError: The broker refuses the connection: nothing listens there. Its address is BROKER_URL.\n"
    )


class Round:
    """A fleet whose workers answer what a test has them answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, queue: str = "") -> None:
        self.stop = RemoteStop(Celery("test", broker="memory://", set_as_current=False), queue=queue)
        self.clock = 100.0
        self.stop._started = self.clock
        self.stopped: list[str] = []
        self.answers: list[dict[str, Any]] = []
        self.last_words: list[dict[str, Any]] = []
        monkeypatch.setattr("workers.stopping.remote_stop.time.monotonic", lambda: self.clock)
        monkeypatch.setattr(self.stop.app.control, "broadcast", self.broadcast)

    def broadcast(self, command: str, arguments: dict[str, Any] | None = None, **_options: Any) -> Any:
        if command == "hookline_stop" and arguments:
            self.stopped += arguments["instances"]
            return self.last_words
        return self.answers

    def go(self, *answers: tuple[str, str, float]) -> list[str]:
        """Let a second pass, have (node, instance, age) answer; return which instances are told to stop."""
        self.stopped = []
        self.clock += 1
        self.answers = [answer(node, instance, age) for node, instance, age in answers]
        self.stop.run_round()
        return self.stopped


def answer(node: str, instance: str, age: float, *, is_stopping: bool = False) -> dict[str, Any]:
    return {node: {"instance": instance, "age_seconds": age, "queues": ["default"], "is_stopping": is_stopping}}


def running_on(node: str, *, queue: str = "default") -> Job:
    return make_job(JobState.RUNNING, attempt=1, queue=queue, worker=node)


@pytest.mark.django_db
def test_a_job_that_the_release_before_has_claimed_counts_for_its_worker() -> None:
    Attempt.objects.create(job=make_job(JobState.RUNNING, attempt=2), number=2, worker="old@test", pid=7)
    running_on("new@test")
    assert running_jobs() == {"old@test": 1, "new@test": 1}
    assert running_jobs(["old@test"], queue="default") == {"old@test": 1}


def test_a_worker_that_was_reconnecting_is_told_when_it_answers_and_a_fresh_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = Round(monkeypatch)
    assert fleet.go(("one@a", "1", 0.1)) == ["1"]
    assert fleet.go(("one@a", "1", 1.1), ("two@a", "2", 50.0), ("three@a", "3", 0.5)) == ["1", "2"]
    assert fleet.go(("two@a", "2", 51.0), ("three@a", "3", 1.5)) == ["1", "2"], "told again until they have heard"


def test_a_worker_has_heard_by_its_last_words_or_a_long_silence_and_not_by_one_round_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = Round(monkeypatch)
    fleet.go(("one@a", "1", 50.0))
    for _ in range(SILENT_ROUNDS - 1):
        assert fleet.go() == ["1"]
        assert not fleet.stop.all_stop()
    assert fleet.go(("one@a", "1", 53.0)) == ["1"], "it was a blip"
    assert not fleet.stop.all_stop()
    fleet.last_words = [answer("one@a", "1", 54.0, is_stopping=True)]
    fleet.go(("one@a", "1", 54.0))
    assert fleet.stop.all_stop()
    assert fleet.go() == []

    silent = Round(monkeypatch)
    silent.go(("two@a", "2", 50.0))
    assert [silent.go() for _ in range(SILENT_ROUNDS)] == [["2"], ["2"], []]
    assert silent.stop.all_stop()


def test_a_worker_that_was_stopping_already_is_there_until_its_jobs_end_or_another_answers_by_its_name(
    monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    fleet = Round(monkeypatch)
    slow, replaced = running_on("slow@a"), running_on("replaced@a")
    running_on("one@a")
    fleet.go(("one@a", "1", 50.0))
    assert fleet.stop.find_unreached() == {"replaced@a": 1, "slow@a": 1}
    assert fleet.stop.remaining() == {"one@a": 1, "replaced@a": 1, "slow@a": 1}
    assert fleet.go(("one@a", "1", 51.0), ("replaced@a", "2", 0.5)) == ["1"]
    assert fleet.stop.remaining() == {"one@a": 1, "slow@a": 1}
    Job.objects.filter(pk__in=[slow.pk, replaced.pk]).update(state=JobState.SUCCEEDED)
    assert fleet.stop.remaining() == {"one@a": 1}


def test_of_those_that_do_not_answer_only_who_runs_jobs_of_the_queue_is_meant(
    monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    running_on("one@a", queue="bulk")
    assert Round(monkeypatch, queue="bulk").stop.find_unreached() == {"one@a": 1}
    assert Round(monkeypatch, queue="default").stop.find_unreached() == {}


def printed_by_command(monkeypatch: pytest.MonkeyPatch, *arguments: str, answers: list[dict[str, Any]]) -> list[str]:
    """Run the command on a fleet that answers so and never stops anything but by itself; return its output's lines."""
    last_words = [
        answer(node, one["instance"], 50.0, is_stopping=True) for each in answers for node, one in each.items()
    ]
    asked = 0

    def broadcast(command: str, **_options: Any) -> list[dict[str, Any]]:
        nonlocal asked
        if command == "hookline_stop":
            return last_words
        asked += 1
        if asked == 2 * SILENT_ROUNDS:
            Job.objects.update(state=JobState.SUCCEEDED)
        return answers if asked == 1 else []

    monkeypatch.setattr(current_app.control, "broadcast", broadcast)
    output = io.StringIO()
    try:
        call_command("stop_workers", *arguments, stdout=output)
    except CommandError as error:
        output.write(f"CommandError: {error}")
    return output.getvalue().splitlines()


NOT_ASKED = "1 worker gave no answer and was not asked; stopping already, or lost: a@pod (1 job)."


def test_the_command_waits_for_a_worker_that_was_stopping_already_and_does_not_promise_that_it_stays_down(
    monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    running_on("a@pod")
    assert printed_by_command(monkeypatch, "--wait", "--stay-down", answers=[answer("b@pod", "1", 50.0)]) == [
        "1 worker asked to stop after the current jobs.",
        NOT_ASKED,
        "2 workers still there: a@pod (1 job), b@pod (0 jobs)",
        "1 worker still there: a@pod (1 job)",
        "All of them are gone.",
        "CommandError: Not asked to stay down, and may be started again: a@pod. If so, run this again.",
    ]


def test_the_command_waits_although_all_of_the_workers_were_stopping_already(
    monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    running_on("a@pod")
    printed = printed_by_command(monkeypatch, "--wait", answers=[])
    assert printed == [NOT_ASKED, "1 worker still there: a@pod (1 job)", "All of them are gone."]


def test_at_the_timeout_the_command_says_who_is_left(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    running_on("a@pod")
    assert printed_by_command(monkeypatch, "--wait", "--timeout", "0", answers=[]) == [
        NOT_ASKED,
        "CommandError: Not all are gone at the timeout. 1 worker still there: a@pod (1 job).",
    ]


def test_a_worker_is_gone_as_soon_as_another_of_its_name_answers(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    fleet = Round(monkeypatch)
    fleet.go(("one@a", "1", 50.0))
    assert fleet.stop.remaining() == {"one@a": 0}
    assert fleet.go(("one@a", "2", 0.5)) == []
    assert fleet.stop.remaining() == {}


def test_only_workers_that_take_jobs_from_the_queue_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Round(monkeypatch, queue="default").go(("one@a", "1", 50.0)) == ["1"]
    assert Round(monkeypatch, queue="other").go(("one@a", "1", 50.0)) == []


def test_an_answer_of_another_release_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Round(monkeypatch)
    monkeypatch.setattr(fleet.stop.app.control, "broadcast", lambda *_a, **_k: [{"old@a": {"error": "unknown"}}])
    fleet.stop.run_round()
    assert fleet.stop.asked == {}


# --- Supervisors -----------------------------------------------------------------------------------------------------


def supervisor_program() -> dict[str, str]:
    shipped = configparser.RawConfigParser(inline_comment_prefixes=None)
    shipped.read(SUPERVISOR)
    return dict(shipped["program:hookline-worker"])


def test_supervisor_starts_a_worker_again_after_every_exit_but_37(tmp_path: Path) -> None:
    configuration = configparser.RawConfigParser()
    configuration["supervisord"] = {"logfile": str(tmp_path / "log"), "pidfile": str(tmp_path / "pid")}
    for status in (0, 1, STAY_DOWN):
        own = supervisor_program() | {
            "directory": str(tmp_path),
            "command": f"/bin/sh -c 'echo start >> starts-{status}; sleep 1.3; exit {status}'",
            "stdout_logfile": "NONE",
        }
        del own["user"]
        configuration[f"program:worker-{status}"] = own
    with (tmp_path / "supervisord.conf").open("w") as file:
        configuration.write(file)
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(tmp_path / "supervisord.conf")]
    supervisor = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def starts(status: int) -> int:
        file = tmp_path / f"starts-{status}"
        return len(file.read_text().splitlines()) if file.exists() else 0

    try:
        wait_until(lambda: min(starts(0), starts(1)) >= 3, what="0 and 1 to be started again, twice")
        assert starts(STAY_DOWN) == 1
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(timeout=30)


def test_supervisor_signals_the_worker_alone_and_outwaits_its_grace() -> None:
    program = supervisor_program()
    assert (program["stopsignal"], program["stopasgroup"], program["killasgroup"]) == ("TERM", "false", "false")
    assert float(program["stopwaitsecs"]) > HOOKLINE_GRACE_SECONDS


def unit(name: str) -> configparser.SectionProxy:
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # As its documentation says.
    parsed.read(SYSTEMD / name)
    return parsed["Service"]


def test_systemd_signals_the_worker_alone_outwaits_its_grace_and_leaves_it_down_after_37() -> None:
    service = unit("hookline-worker@.service")
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    assert float(service["TimeoutStopSec"]) > HOOKLINE_GRACE_SECONDS
    left_down = (service["Restart"], service["RestartPreventExitStatus"], service["SuccessExitStatus"])
    assert left_down == ("always", str(STAY_DOWN), str(STAY_DOWN))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    units = []
    for shipped in SYSTEMD.iterdir():
        # It looks for the program, which is not installed here.
        text = shipped.read_text().replace("/opt/hookline/.venv/bin/python", sys.executable)
        own = tmp_path / shipped.name
        own.write_text(text.replace("/opt/hookline", str(tmp_path)))
        units.append(str(own).replace("@.", "@1."))
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
