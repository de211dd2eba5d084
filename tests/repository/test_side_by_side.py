"""The suite in several processes: each is set up as one alone is."""

import os

import pytest
from django.conf import settings
from django.db import connection

from tests.conftest import DATA_DIRECTORY

pytestmark = pytest.mark.both_databases


def test_this_process_has_the_database_that_was_asked_for_and_a_folder_of_its_own() -> None:
    is_postgres = os.environ.get("HOOKLINE_TEST_DATABASE_URL", "").startswith("postgres")
    assert connection.vendor == ("postgresql" if is_postgres else "sqlite")
    assert settings.HOOKLINE_DATA_DIR == DATA_DIRECTORY
