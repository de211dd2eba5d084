"""What several tests of the inbox begin with. Django is not set up as this is read."""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from webhooks.inbox.engine import Engine


@pytest.fixture(params=["postgresql", "sqlite"])
def each(request: pytest.FixtureRequest) -> "Engine":
    """Every engine that this database can run."""
    from tests.inbox.test_engine import engines

    one: Engine = import_module(f"webhooks.inbox.{request.param}")
    if one not in engines():
        pytest.skip("only on PostgreSQL")
    return one


@pytest.fixture
def quick_commits(transactional_db: None) -> Iterator[None]:
    """Do without the wait for the disk, which is not what is tried here."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SET synchronous_commit = off" if connection.vendor == "postgresql" else "PRAGMA synchronous = OFF"
        )
    yield
    connection.close()
