"""The pytest plugin with the fixture `deliver`. In the topmost conftest.py of your project:

    pytest_plugins = ["webhooks.testing.plugin"]

It sets Django up with Hookline's settings and a data directory of its own, which is removed at the end. It needs
pytest-django too. HOOKLINE_APPS names the apps whose handlers run, as it does for every program.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

from webhooks.inbox.outcomes import Outcome


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if "HOOKLINE_DATA_DIR" not in os.environ:
        os.environ["HOOKLINE_DATA_DIR"] = directory = tempfile.mkdtemp(prefix="hookline-tests-")
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
    # pytest-django sets Django up only if it knows the settings before it reads any conftest.py.
    import django

    django.setup()


@pytest.fixture
def deliver(transactional_db: None) -> Iterator[Callable[..., dict[str, Outcome]]]:
    """Post a signed webhook to the receiver and run its jobs: `deliver("push", ref="refs/heads/main")`.

    The database is for tests only, and is emptied after each test: a handler may commit, as it does in a worker.
    """
    from webhooks.testing import deliveries

    with deliveries.receiver_in_this_thread():
        yield deliveries.deliver
