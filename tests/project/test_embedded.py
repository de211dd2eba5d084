"""The data directory of the embedded default: what it holds, and who may read it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.embedded import GENERATED, generated_secrets, open_data_directory
from tests.support.processes import ROOT, environment
from webhooks.encryption import is_key


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def print_secrets(directory: Path, *, times: int) -> list[dict[str, str]]:
    """Have so many processes read the secrets at once, and return what each has read."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.programs.print_secrets", str(directory)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(times)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()  # None of them has looked before this.
        process.stdin = None
    return [json.loads(process.communicate(timeout=60)[0]) for process in processes]


def test_secrets_are_generated_once_and_stay(tmp_path: Path) -> None:
    first = generated_secrets(open_data_directory(tmp_path / "data"))
    assert first.keys() == GENERATED.keys()
    assert len(set(first.values())) == len(GENERATED)
    assert generated_secrets(open_data_directory(tmp_path / "data")) == first


def test_directory_and_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path / "deep" / "data")
    generated_secrets(directory)
    assert mode(directory) == 0o700
    assert mode(directory / "secrets.json") == 0o600


def test_eight_processes_that_start_at_once_agree_on_the_secrets(tmp_path: Path) -> None:
    printed = print_secrets(tmp_path / "data", times=8)
    assert all(secrets == printed[0] for secrets in printed)
    left = [file.name for file in (tmp_path / "data").iterdir() if file.is_file()]
    assert left == ["secrets.json"]


def test_a_directory_of_ours_that_was_opened_to_others_is_closed_again(tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path / "data")
    generated_secrets(directory)
    directory.chmod(0o755)
    open_data_directory(directory)
    assert mode(directory) == 0o700


def test_a_directory_that_is_somebody_elses_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    (home / "letter.txt").touch()
    with pytest.raises(ImproperlyConfigured, match="HOOKLINE_DATA_DIR"):
        open_data_directory(home)
    assert mode(home) == 0o755
    assert [file.name for file in home.iterdir()] == ["letter.txt"]


def test_a_directory_that_cannot_be_made_is_said_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImproperlyConfigured, match="HOOKLINE_DATA_DIR"):
        open_data_directory(tmp_path / "file" / "data")


def test_what_an_older_release_has_not_generated_is_added_once_by_processes_that_start_at_once(tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path / "data")
    older = generated_secrets(directory)
    del older["HOOKLINE_ENCRYPTION_KEYS"]
    (directory / "secrets.json").write_text(json.dumps(older))
    printed = print_secrets(directory, times=6)
    assert all(secrets == printed[0] for secrets in printed)
    assert printed[0] == {**older, "HOOKLINE_ENCRYPTION_KEYS": printed[0]["HOOKLINE_ENCRYPTION_KEYS"]}
    assert is_key(printed[0]["HOOKLINE_ENCRYPTION_KEYS"])
    assert [file.name for file in directory.iterdir() if file.is_file()] == ["secrets.json"]
    assert mode(directory / "secrets.json") == 0o600
