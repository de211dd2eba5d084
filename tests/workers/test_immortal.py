"""Immortal objects: in an interpreter that has them, in one that has none, and in one that counts in another way."""

import json
import os
import subprocess
import sys
from ctypes import c_uint32
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from workers.processes import immortal

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "immortality.py"
RUNNING = {"generator", "frame"}


def told_by(python: str) -> dict[str, Any]:
    ended = subprocess.run([python, PROGRAM], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


@pytest.fixture(scope="module")
def newer() -> dict[str, dict[str, Any]]:
    """What each Python 3.12 or newer of this machine tells: this one, those on the path, those of pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = chain(
        [sys.executable, "python3.12", "python3.13", "python3.14"], map(str, versions.glob("3.1[2-9].*/bin/python3"))
    )
    found = [python for python in candidates if _is_newer(python)]
    if not found:
        pytest.skip("no Python 3.12 or newer on this machine")
    return {python: told_by(python) for python in found}


def _is_newer(python: str) -> bool:
    try:
        asked = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 12))"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_what_is_loaded_is_immortal_and_what_comes_later_is_not(newer: dict[str, dict[str, Any]]) -> None:
    for python, told in newer.items():
        assert told["can"], python
        assert told["made"] > 50_000
        assert {kind for kind, is_immortal in told["immortal"].items() if not is_immortal} == RUNNING
        # What came into being meanwhile, not all that there is.
        assert told["made again"] < told["made"] / 20
        assert told["later ones are freed"]


def test_a_child_writes_nothing_into_what_it_only_refers_to(newer: dict[str, dict[str, Any]]) -> None:
    for python, told in newer.items():
        # 50,000 objects of 48 bytes and more.
        assert told["written, mortal"] > 2_000, python
        assert told["written"] < told["written, mortal"] / 5


@pytest.mark.skipif(sys.version_info >= immortal.FIRST_VERSION, reason="this Python has immortal objects")
def test_an_older_python_is_left_as_it_is() -> None:
    told = told_by(sys.executable)
    assert (told["can"], told["made"]) == (False, 0)
    assert not any(told["immortal"].values())
    assert immortal.make_immortal() == 0


def test_an_interpreter_that_counts_elsewhere_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(immortal, "FIRST_VERSION", (3, 11))
    monkeypatch.setattr(immortal, "_count_of", lambda thing: c_uint32.from_address(id(thing) + 8))
    assert immortal.make_immortal() == 0
