"""`make run` as a person meets it: on a terminal, under make, with real programs."""

import base64
import http.client
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from deploy.leftovers import remove_leftovers
from tests.support.processes import OUTSIDE, ROOT, Done, environment, free_port, manage, run_module, wait_until
from tests.support.terminal import CTRL_C, Terminal, on_terminal

pytestmark = pytest.mark.timeout(900)  # A test waits for several starts and ends, for each as long as PATIENCE.
MAKEFILE = """
run:
\t@"$(PYTHON)" {quickstart}
"""


class Place:
    """A data directory and two ports: where one Hookline runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.quickstart = "-m deploy.quickstart"
        self.settings: dict[str, object] = {
            "HOOKLINE_DATA_DIR": self.data,
            "HOOKLINE_PORT": free_port(),
            "HOOKLINE_FLOWER_PORT": free_port(),
        }

    def add_app(self, name: str, **settings: object) -> None:
        self.settings |= {"HOOKLINE_APPS": name, "PYTHONPATH": OUTSIDE, **settings}

    def let_programs_start_slowly(self) -> None:
        """Have the supervisor take a program that ends within a minute, not within ten seconds, for one that fails."""
        text = (ROOT / "deploy" / "supervisord.conf").read_text()
        text = text.replace("%(here)s/..", str(ROOT)).replace("startsecs=10", "startsecs=60")
        configuration = self.directory / "supervisord.conf"
        configuration.write_text(text)
        self.quickstart = f"-m tests.support.programs.patient_quickstart {configuration}"

    @contextmanager
    def started(self) -> Iterator[Terminal]:
        """Run the quickstart as make runs it, which a Ctrl-C must not kill."""
        makefile = self.directory / "Makefile"
        makefile.write_text(MAKEFILE.format(quickstart=self.quickstart))
        command = ["make", "--no-print-directory", "-f", str(makefile), "run", f"PYTHON={sys.executable}"]
        with on_terminal(command, environment(**self.settings)) as terminal:
            yield terminal

    def run_to_the_end(self, **settings: object) -> Done:
        """Run it without a terminal, where it is expected to refuse."""
        return run_module("deploy.quickstart", cwd=ROOT, **self.settings | settings)

    def get(self, port_name: str, path: str, password: str | None = None) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", int(str(self.settings[port_name])), timeout=10)) as asked:
            credentials = base64.b64encode(f"operator:{password}".encode()).decode()
            asked.request("GET", path, headers={"Authorization": f"Basic {credentials}"} if password else {})
            return asked.getresponse().status

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.data / "hookline.sqlite3")) as database:
            return database.execute(query).fetchall()

    def count(self, table: str) -> int:
        [[number]] = self.rows(f"SELECT count(*) FROM {table}")
        assert isinstance(number, int)
        return number

    def pid_of(self, program: str) -> int:
        log = (self.data / "logs" / "supervisord.log").read_text()
        return int(re.findall(rf"spawned: '{program}' with pid (\d+)", log)[-1])

    def assert_nothing_runs(self) -> None:
        for name in ("HOOKLINE_PORT", "HOOKLINE_FLOWER_PORT"):
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", int(str(self.settings[name]))))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_stranger_sees_samples_done_and_where_to_look_and_comes_back_to_it(place: Place) -> None:
    with place.started() as first:
        first.expect(r"Ctrl-C +stop")
        [password] = re.findall(r"Password +(\S+) +\(shown this once", first.output)
        sent, jobs = map(int, first.expect(r"(\d+) signed deliveries .* (\d+) jobs: \2 succeeded").groups())
        assert (place.count("webhooks_delivery"), place.count("webhooks_job")) == (sent, jobs)
        assert place.get("HOOKLINE_PORT", "/sign-in/") == 200
        assert place.get("HOOKLINE_FLOWER_PORT", "/") == 401
        assert place.get("HOOKLINE_FLOWER_PORT", "/", password) == 200

        second = place.run_to_the_end(HOOKLINE_PORT=free_port(), HOOKLINE_FLOWER_PORT=free_port())
        assert second.returncode == 1
        assert re.match(
            r"hookline: Hookline already runs on .* \(process \d+\): .*HOOKLINE_DATA_DIR\.\n$", second.stdout
        )

        first.press(CTRL_C)
        assert first.exit_status() == 0
        assert "stopping: waiting for running handlers" in first.output
        assert first.output.endswith("`make run` carries on where this was\n")
    place.assert_nothing_runs()

    with place.started() as later:
        later.expect(r"Ctrl-C +stop")
        assert password not in later.output
        later.expect(r"Password +in .*secrets\.json")
        assert place.count("webhooks_delivery") == 2 * sent
        later.press(CTRL_C)
        assert later.exit_status() == 0
    assert "Traceback" not in first.output + later.output


@pytest.mark.slow
def test_a_program_that_dies_is_started_again_and_said(place: Place) -> None:
    with place.started() as terminal:
        terminal.expect(r"Ctrl-C +stop")
        killed = place.pid_of("relay")
        os.kill(killed, signal.SIGKILL)
        terminal.expect(r"relay ended \(terminated by SIGKILL\) and is started again")
        wait_until(lambda: place.pid_of("relay") != killed, what="another relay runs")
        terminal.press(CTRL_C)
        assert terminal.exit_status() == 0


@pytest.mark.slow
def test_a_running_handler_finishes_however_often_ctrl_c_is_pressed(place: Place) -> None:
    place.add_app("slow_bot", SLOW_BOT_FOLDER=place.directory)
    payload = place.directory / "star.json"
    payload.write_text('{"action": "created"}')
    place.settings["HOOKLINE_OPERATOR_PASSWORD"] = "correct horse battery"
    with place.started() as terminal:
        terminal.expect(r"Password +as given in HOOKLINE_OPERATOR_PASSWORD(?s:.*)Ctrl-C +stop")
        assert "correct horse battery" not in terminal.output
        sent = manage("send_webhook", "star", "--payload", str(payload), **place.settings)
        assert sent.returncode == 0, sent.stderr
        wait_until((place.directory / "started").exists, what="the handler runs")
        terminal.press(CTRL_C)
        terminal.expect("stopping: waiting for running handlers")
        terminal.press(CTRL_C)
        terminal.expect("still waiting for running handlers")
        (place.directory / "released").touch()
        assert terminal.exit_status() == 0
    assert place.rows(
        "SELECT state, result, attempt - budget_from_attempt FROM webhooks_job WHERE handler = 'slow_bot.slow'"
    ) == [("succeeded", "finished", 1)]


@pytest.mark.parametrize("seconds", [0, 4])  # Before the samples are done, and most likely after.
@pytest.mark.slow
def test_a_program_that_does_not_stay_up_is_named_with_the_end_of_its_log(place: Place, seconds: int) -> None:
    place.add_app("heartless_bot", HEARTLESS_SECONDS=seconds)
    place.let_programs_start_slowly()
    with place.started() as terminal:
        assert terminal.exit_status() != 0
    assert "hookline: relay does not stay up (exit status 1)" in terminal.output
    assert "    this relay has no heart" in terminal.output
    assert str(place.data / "logs" / "relay.log") in terminal.output
    assert "Traceback" not in terminal.output
    place.assert_nothing_runs()


@pytest.mark.slow
def test_a_supervisor_that_ends_by_itself_ends_the_quickstart(place: Place) -> None:
    with place.started() as terminal:
        terminal.expect(r"Ctrl-C +stop")
        os.kill(int((place.data / "supervisord.pid").read_text()), signal.SIGTERM)
        assert terminal.exit_status() != 0
    assert "hookline: the supervisor has ended by itself" in terminal.output


@pytest.mark.parametrize("name", ["HOOKLINE_PORT", "HOOKLINE_FLOWER_PORT"])
def test_a_port_in_use_is_one_sentence_and_nothing_starts(place: Place, name: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = place.run_to_the_end(**{name: port})
    assert ended.returncode == 1
    assert ended.stdout == f"hookline: Port {port} is in use: give another one in {name}.\n"
    assert not (place.data / "logs").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"HOOKLINE_OPERATOR_PASSWORD": ""}, "HOOKLINE_OPERATOR_PASSWORD"),
        ({"HOOKLINE_HOST": "203.0.113.1"}, "HOOKLINE_HOST"),
        ({"HOOKLINE_PORT": "5999", "HOOKLINE_FLOWER_PORT": "5999"}, "are both 5999"),
        ({"BROKER_URL": "sqs://"}, "BROKER_URL"),
        ({"HOOKLINE_APPS": "tests.twins"}, "HOOKLINE_APPS"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(place: Place, settings: dict[str, object], said: str) -> None:
    ended = place.run_to_the_end(**settings)
    assert ended.returncode == 1
    assert said in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_faulty_subscription_is_said_before_anything_starts(place: Place) -> None:
    place.add_app("twin_bot")
    ended = place.run_to_the_end()
    assert ended.returncode == 1
    assert "2 subscriptions are named 'same'." in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not (place.data / "logs").exists()


def test_leftovers_of_processes_go_and_messages_of_jobs_stay(tmp_path: Path) -> None:
    gone = ["1_a.celeryev.0d3e.msg", "2_b.worker@some.host.celery.pidbox.msg", "3_c.0d3e.reply.celery.pidbox.msg"]
    kept = ["4_d.default.msg", "5_e.io.fast.msg", "6_f.celeryev-like.msg"]
    tables = ["celery.pidbox.exchange", "celeryev.exchange", "default.exchange", "reply.celery.pidbox.exchange"]
    for name in [*gone, *kept, *tables]:
        (tmp_path / name).write_text('[["", "", "a queue"]]')
    remove_leftovers(messages=tmp_path, control=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*kept, *tables])
    filled = [name for name in tables if (tmp_path / name).read_text() != "[]"]
    assert filled == ["default.exchange"]
