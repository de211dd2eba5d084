"""An installation that has run the catalog and now names apps of its own: its rows stay, and nothing misses the app."""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import ROOT, manage

OUTSIDE = ROOT / "tests" / "apps" / "outside"
USED = """
from django.contrib.auth.models import Permission, User
from tests.support.catalog_events import event, handle
handle(event("push"), event("installation"))
user = User.objects.create_superuser("operator", password="p")
user.user_permissions.set(Permission.objects.filter(content_type__app_label="catalog"))
"""
LOOK = """
import json
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.get())
paths = ["/admin/", "/admin/auth/user/", f"/admin/auth/user/{User.objects.get().pk}/change/",
         "/admin/webhooks/job/", "/admin/webhooks/delivery/", "/readyz"]
found = {path: client.get(path, headers={"Host": "localhost"}).status_code for path in paths}
print(json.dumps([apps.is_installed("workers.catalog"), found]))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory in which the catalog was installed and has stored something."""
    command(tmp_path, "migrate", "-v0")
    command(tmp_path, "shell", "-v0", "-c", USED)
    return tmp_path


def command(data: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    done = manage(*arguments, HOOKLINE_DATA_DIR=data, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def tables(data: Path) -> dict[str, int]:
    """Return the catalog's tables with the number of their rows."""
    with closing(sqlite3.connect(data / "hookline.sqlite3")) as database:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'catalog!_%' ESCAPE '!' AND type='table'"
        )
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in names.fetchall()}


def test_rows_of_the_catalog_stay_where_it_is_no_longer_installed_and_the_admin_works(data: Path) -> None:
    before = tables(data)
    assert before["catalog_scanrequest"] == 3
    own = {"HOOKLINE_APPS": "acme_bot", "PYTHONPATH": OUTSIDE}
    command(data, "migrate", "-v0", **own)
    command(data, "makemigrations", "--check", "--dry-run", **own)
    is_installed, found = json.loads(command(data, "shell", "-v0", "-c", LOOK, **own).stdout)
    assert not is_installed
    assert set(found.values()) == {200}, found
    assert tables(data) == before
    # As the page on handlers says it, for who wants to be rid of them.
    command(data, "migrate", "catalog", "zero", "-v0", HOOKLINE_APPS="workers.catalog")
    assert tables(data) == {}
    command(data, "migrate", "-v0", **own)
