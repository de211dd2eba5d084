"""An installation that has run the catalog and now names apps of its own: its rows stay, and nothing misses the app."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import OUTSIDE, ROOT, Done, manage, run_module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory in which the catalog was installed and has stored something."""
    command(tmp_path, "migrate", "-v0")
    program(tmp_path, "use_the_catalog")
    return tmp_path


def command(data: Path, *arguments: str, **settings: object) -> None:
    output_of(manage(*arguments, HOOKLINE_DATA_DIR=data, **settings))


def program(data: Path, name: str, **settings: object) -> str:
    done = run_module(f"tests.support.programs.{name}", cwd=ROOT, HOOKLINE_DATA_DIR=data, **settings)
    return output_of(done)


def output_of(done: Done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tables(data: Path) -> dict[str, int]:
    """Return the catalog's tables with the number of their rows."""
    with closing(sqlite3.connect(data / "hookline.sqlite3")) as database:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'catalog!_%' ESCAPE '!' AND type='table'"
        )
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in names.fetchall()}


@pytest.mark.slow
def test_rows_of_the_catalog_stay_where_it_is_no_longer_installed_and_the_admin_works(data: Path) -> None:
    before = tables(data)
    assert before["catalog_scanrequest"] == 3
    own = {"HOOKLINE_APPS": "acme_bot", "PYTHONPATH": OUTSIDE}
    command(data, "migrate", "-v0", **own)
    command(data, "makemigrations", "--check", "--dry-run", **own)
    is_installed, found = json.loads(program(data, "visit_the_admin", **own))
    assert not is_installed
    assert set(found.values()) == {200}, found
    assert tables(data) == before
    # As the page on handlers says it, for who wants to be rid of them.
    command(data, "migrate", "catalog", "zero", "-v0", HOOKLINE_APPS="workers.catalog")
    assert tables(data) == {}
    command(data, "migrate", "-v0", **own)
