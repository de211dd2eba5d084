"""What failed beside others is run once more, and what fails again is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.once_more import main
from tests.support.processes import ROOT

UNSTEADY = """
import pathlib

import pytest

@pytest.fixture(scope="module", autouse=True)
def shared():
    seen = pathlib.Path("seen-{number}")
    before = seen.exists()
    seen.touch()
    assert before and not {is_broken}

def test_it():
    pass

def test_another():
    pass
"""


@pytest.mark.parametrize(
    ("unsteady", "broken", "status"),
    [(3, 0, 0), (1, 1, 1), (4, 0, 1)],
    ids=["three pass alone", "one fails again", "too many failed"],
)
def test_a_few_tests_get_a_second_try(tmp_path: Path, unsteady: int, broken: int, status: int) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_steady.py").write_text("def test_it():\n    pass\n")
    for number in range(unsteady + broken):
        text = UNSTEADY.format(number=number, is_broken=number >= unsteady)
        (tmp_path / f"test_{number}.py").write_text(text)
    first = run(tmp_path, "pytest", "--cache-clear")
    assert first.returncode == 1

    second = run(tmp_path, "tests.support.once_more", str(first.returncode))

    assert second.returncode == status, second.stdout
    assert ("FAILED BESIDE OTHERS" in second.stdout) == (status == 0)


@pytest.mark.parametrize("status", [0, 2, 3])
def test_what_is_no_failed_test_stays_as_it_is(status: int) -> None:
    assert main(status) == status


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=directory, env=environment, capture_output=True, text=True
    )
