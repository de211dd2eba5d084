"""What is removed before coverage combines its data files."""

import sqlite3
from pathlib import Path

import coverage

from tests.support.coverage_files import remove_unfinished


def test_what_a_killed_process_has_left_is_removed_and_what_a_finished_one_wrote_is_kept(tmp_path: Path) -> None:
    finished = coverage.CoverageData(basename=str(tmp_path / ".coverage.finished"))
    finished.add_lines({"some.py": [1]})
    finished.write()
    finished.close()
    with sqlite3.connect(tmp_path / ".coverage.without-a-version") as database:
        database.execute("CREATE TABLE coverage_schema (version integer)")
    database.close()
    (tmp_path / ".coverage.empty").touch()
    (tmp_path / ".coverage.gone-journal").write_bytes(b"a journal of nothing")
    assert remove_unfinished(tmp_path) == [".coverage.empty", ".coverage.without-a-version", ".coverage.gone-journal"]
    assert [file.name for file in tmp_path.iterdir()] == [".coverage.finished"]
