"""`make app`, the tests that it brings, `make run APPS=…`, a changed handler, and how the receiver is found."""

import sys
from pathlib import Path

import pytest

from deploy import own_apps
from deploy.changes import Changes
from tests.deployment.test_quickstart import Place
from tests.support.processes import ROOT, environment, manage, run_module, wait_until
from tests.support.terminal import CTRL_C, on_terminal
from webhooks import local_run
from webhooks.local_run import LocalRun


def test_a_new_app_has_a_handler_and_tests_that_pass(tmp_path: Path) -> None:
    made = run_module("deploy.new_app", "acme", tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert f'make run APPS=acme DIR="{tmp_path}"' in made.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme", "conftest.py"]
    tested = run_module("deploy.app_tests", "acme", tmp_path, "-q")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "3 passed" in tested.stdout
    # As somebody runs them who knows nothing of make.
    by_hand = run_module("pytest", "-q", cwd=tmp_path, HOOKLINE_APPS="acme", PYTHONPATH=ROOT)
    assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "give the new app a name: make app NAME=acme"),
        ("1x", "NAME=1x is not a name that Python can import"),
        ("class", "NAME=class is not a name that Python can import"),
        ("json", "NAME=json is taken by a module of Python or of Hookline"),
        ("webhooks", "NAME=webhooks is taken"),
        ("admin", "NAME=admin is taken"),
        ("old", "old exists; nothing is changed."),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_in_a_sentence(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "old").mkdir()
    refused = run_module("deploy.new_app", name, tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("hookline: ")
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run_module("deploy.new_app", "acme", tmp_path / "file")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "cannot be written: " in refused.stderr


def test_a_conftest_that_was_there_before_stays_and_the_line_that_it_needs_is_said(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("# mine\n")
    made = run_module("deploy.new_app", "acme", tmp_path)
    assert "this line in" in made.stdout
    assert 'pytest_plugins = ["webhooks.testing.plugin"]' in made.stdout
    assert (tmp_path / "conftest.py").read_text() == "# mine\n"


@pytest.mark.parametrize("module", ["deploy.quickstart", "deploy.app_tests"])
def test_an_app_that_is_not_there_is_named_with_its_folder(tmp_path: Path, module: str) -> None:
    refused = run_module(module, "acme", tmp_path, HOOKLINE_DATA_DIR=tmp_path / "data")
    assert refused.returncode == 1
    assert f"APPS=acme: there is no acme in {tmp_path}." in refused.stdout + refused.stderr
    assert not (tmp_path / "data").exists()


def test_without_a_folder_apps_lie_beside_the_checkout_in_one_of_their_own() -> None:
    assert own_apps.folder_of("") == ROOT.parent / f"{ROOT.name}-apps"


@pytest.mark.slow
@pytest.mark.timeout(900)  # It waits for a start, two changes and an end, for each as long as PATIENCE.
def test_a_changed_handler_is_taken_up_and_other_commands_find_the_receiver(tmp_path: Path) -> None:
    place = Place(tmp_path)
    here = {"HOOKLINE_DATA_DIR": place.data}
    assert run_module("deploy.new_app", "acme", tmp_path).returncode == 0
    handlers = tmp_path / "acme" / "handlers.py"

    def sent(said: str) -> bool:
        """Send an event, by what the data directory says of the receiver, and tell whether a job's result begins so."""
        manage("send_webhook", "pull_request", **here)
        results = place.rows("SELECT result FROM webhooks_job WHERE handler = 'acme.greet'")
        return any(str(result).startswith(said) for (result,) in results)

    command = [sys.executable, "-m", "deploy.quickstart", "acme", str(tmp_path)]
    with on_terminal(command, environment(**place.settings)) as terminal:
        terminal.expect(r"Ctrl-C +stop")
        wait_until(lambda: sent("hello ben-example"), what="the new handler's result")
        # Another terminal knows nothing of the app, and has the catalog, whose tables are not there.
        counted = manage("inbox", **here)
        assert counted.returncode == 0, counted.stderr
        assert "acme.greet" in counted.stdout
        handlers.write_text(handlers.read_text().replace('"hello ', '"good morning '))
        terminal.expect("acme has changed: receiver, relay, worker start again\nthe changes are loaded\n")
        wait_until(lambda: sent("good morning ben-example"), what="the changed handler's result")
        handlers.write_text(handlers.read_text() + "def broken(:\n")
        terminal.expect(rf"acme has changed, but cannot be loaded:\n.*SyntaxError: .*{handlers}:10")
        assert sent("good morning ben-example")
        terminal.press(CTRL_C)
        assert terminal.exit_status() == 0
    assert local_run.noted(place.data) is None
    place.assert_nothing_runs()


def test_a_run_that_was_killed_is_told_from_one_that_serves(tmp_path: Path) -> None:
    local_run.note(tmp_path, LocalRun(receiver="http://127.0.0.1:9", flower="http://127.0.0.1:10"))
    (tmp_path / "run.lock").touch()
    tmp_path.chmod(0o700)
    (tmp_path / "secrets.json").write_text(
        '{"SECRET_KEY": "k", "HOOKLINE_OPERATOR_PASSWORD": "p", "GITHUB_WEBHOOK_SECRETS": "a secret for this test"}'
    )
    port = Place(tmp_path).settings["HOOKLINE_PORT"]
    refused = manage("send_webhook", "ping", HOOKLINE_DATA_DIR=tmp_path, HOOKLINE_PORT=port)
    assert f"Nobody listens at http://127.0.0.1:{port}/" in refused.stderr
    assert f"The last `make run` on {tmp_path}, at http://127.0.0.1:9, was killed" in refused.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"receiver": 1}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "running.json").write_text(text)
    assert local_run.noted(tmp_path) is None
    assert not local_run.is_running(tmp_path / "elsewhere")


def test_a_change_counts_once_its_files_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.changes.LOOK_SECONDS", 0.0)
    changes = Changes([tmp_path])
    assert not changes.are_complete()
    (tmp_path / "one.py").touch()
    assert not changes.are_complete()
    (tmp_path / "two.py").touch()
    assert [changes.are_complete() for _ in range(3)] == [False, True, False]
    (tmp_path / "notes.txt").touch()
    assert [changes.are_complete() for _ in range(3)] == [False, False, False]
