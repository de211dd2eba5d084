"""How `manage.py relay` hears that it is to stop, at the most awkward of moments."""

from pathlib import Path

import pytest

from tests.support.processes import run_module, unmeasured


@pytest.mark.parametrize(
    ("lock", "number"),
    [
        ("stop", "SIGTERM"),
        ("starting", "SIGINT"),
    ],
)
def test_it_leaves_with_0_although_the_signal_finds_its_thread_with_a_lock_in_hand(
    tmp_path: Path, lock: str, number: str
) -> None:
    with unmeasured():
        ended = run_module("tests.support.programs.stop_with_a_lock_held", lock, number, HOOKLINE_DATA_DIR=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
