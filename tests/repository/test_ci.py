"""What `.ci/run` says at its end: that it passed only if it came to the last line."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT, wait_until


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a folder with the script, and nothing of what it calls."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    return tmp_path


def write_first_step(checkout: Path, body: str) -> None:
    program = checkout / ".ci" / "services"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def start(checkout: Path) -> "subprocess.Popen[bytes]":
    with (checkout / "said").open("wb") as said:
        return subprocess.Popen(
            [checkout / ".ci" / "run"],
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_a_signal_ends_is_said_to_have_failed(checkout: Path, number: signal.Signals) -> None:
    write_first_step(checkout, 'touch "$PWD/begun"; exec sleep 300')
    script = start(checkout)
    try:
        wait_until((checkout / "begun").exists, what="it runs a program")
        os.killpg(script.pid, number)  # To all of them, as a terminal and most supervisors send it.
        assert script.wait(30) != 0
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
    last = (checkout / "said").read_text().splitlines()[-1]
    assert last.startswith("CI FAILED while starting PostgreSQL, RabbitMQ and Redis (")


def test_a_run_that_one_signal_ends_by_itself_is_said_to_have_failed(checkout: Path) -> None:
    write_first_step(checkout, 'touch "$PWD/begun"; exec sleep 300')
    script = start(checkout)
    try:
        wait_until((checkout / "begun").exists, what="it runs a program")
        script.terminate()
        assert script.wait(30) == -signal.SIGTERM
    finally:
        os.killpg(script.pid, signal.SIGKILL)
    assert "(ended by a signal, " in (checkout / "said").read_text().splitlines()[-1]


def test_a_step_that_fails_is_named_with_its_status(checkout: Path) -> None:
    write_first_step(checkout, "exit 1")
    script = start(checkout)
    assert script.wait(30) == 1
    last = (checkout / "said").read_text().splitlines()[-1]
    assert last.startswith("CI FAILED while starting PostgreSQL, RabbitMQ and Redis (exit status 1, ")


def test_a_run_that_comes_to_its_end_is_said_to_have_passed(checkout: Path) -> None:
    text = (checkout / ".ci" / "run").read_text()
    script = checkout / ".ci" / "run"
    script.write_text(text[: text.index('begin "starting')] + text[text.rindex("echo\n") :])
    assert start(checkout).wait(30) == 0
    assert (checkout / "said").read_text().splitlines()[-1].startswith("CI PASSED in ")
