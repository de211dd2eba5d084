"""The receiver, the relay, `make run` and the scripts with nothing that only Linux has: what is left of them on macOS.

`tests/support/without_linux/` says what is taken away. What it cannot show is what macOS itself does otherwise.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.test_quickstart import Place
from tests.support.processes import ROOT, environment, running, wait_until
from tests.support.receiver_process import PATIENCE, receiver_in, request
from tests.support.terminal import CTRL_C
from tests.support.without_linux import without_linux


def test_nothing_of_linux_is_found_there() -> None:
    asked = (
        "import ctypes, os, pathlib, socket, sys, urllib.request; "
        "print(sys.platform, os.path.exists('/proc/self'), pathlib.Path('/proc').is_dir(), "
        "hasattr(ctypes.CDLL(None), 'prctl'), hasattr(socket, 'TCP_INFO'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment(**without_linux()), capture_output=True, text=True, check=True
    )
    assert done.stdout == "darwin False False False False\n"


@pytest.mark.slow
def test_the_receiver_takes_a_delivery_gives_up_a_stalled_one_and_stops(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"HOOKLINE_BODY_SECONDS": 0.5, **without_linux()}
    with receiver_in(tmp_path, **settings) as receiver:
        assert receiver.ask(request()).status == 202
        assert receiver.stalled().reply().status == 408
        assert receiver.stop() == 0
        assert receiver.complaints() == []


@pytest.mark.slow
def test_a_receiver_whose_launcher_was_killed_gives_the_port_back(tmp_path: Path) -> None:
    settings: dict[str, Any] = without_linux()
    with receiver_in(tmp_path, **settings) as receiver:
        receiver.process.kill()
        receiver.process.wait()
        wait_until(lambda: not receiver.listens(), what="nobody listens on the port any more")


@pytest.mark.slow
def test_the_relay_starts_and_stops(tmp_path: Path) -> None:
    log = tmp_path / "relay.log"
    with receiver_in(tmp_path), running("relay", log=log, HOOKLINE_DATA_DIR=tmp_path, **without_linux()) as relay:
        wait_until(lambda: "relay started" in log.read_text(), what="the relay has started")
        relay.terminate()
        assert relay.wait(PATIENCE) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.timeout(900)  # It waits for a start and an end, for each as long as PATIENCE.
@pytest.mark.slow
def test_make_run_starts_says_what_cannot_be_had_there_and_stops(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.settings |= without_linux()
    with place.started() as terminal:
        terminal.expect(r"This is not Linux: ")
        terminal.expect(r"\d+ signed deliveries sent and stored; their (\d+) jobs: \1 succeeded(?s:.*)Ctrl-C +stop")
        terminal.press(CTRL_C)
        assert terminal.exit_status() == 0
    assert "Traceback" not in terminal.output
    place.assert_nothing_runs()


GNU_FORMS = re.compile(
    r"\b(sed (-[a-z]* )*(-i|-r|-z)|date (-d|-I|--)|mktemp (-p|--)|readlink -f|stat -c|ps (-C|--|[a-z]*f)|cp -t"
    r"|(head|sort|xargs|ls|grep|tail|tr|cut) --|grep -[a-zA-Z]*P|xargs -r|realpath )"
)


@pytest.mark.parametrize("script", [*map(str, (ROOT / "deploy").rglob("*.sh")), str(ROOT / "Makefile")])
def test_no_script_uses_what_only_gnus_tools_take(script: str) -> None:
    assert not [line for line in Path(script).read_text().splitlines() if GNU_FORMS.search(line)]


def test_secrets_are_made_with_the_tools_of_macos(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "deploy/image/make-secrets.sh", tmp_path / "secrets"],
        env=environment(**without_linux()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert (tmp_path / "secrets" / "DATABASE_URL").read_text().startswith("postgres://")
