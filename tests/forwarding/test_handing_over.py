"""The key of the destinations' secrets: a worker is given it, and what it becomes finds it in no variable."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from project.variables import read_file
from webhooks.encryption import HiddenKeys, new_key
from webhooks.handing_over import forget, hand_over

NAME = "HOOKLINE_DESTINATION_KEYS"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (NAME, f"{NAME}_FILE"):
        monkeypatch.setenv(name, "")  # So that the test's end takes out what the test puts in.
        monkeypatch.delenv(name)


def test_what_is_handed_over_is_read_once_and_its_pipe_is_closed() -> None:
    keys = [new_key(), new_key()]
    hand_over(NAME, keys)
    path = os.environ[f"{NAME}_FILE"]
    assert not any(key in repr(dict(os.environ)) for key in keys)
    assert read_file(NAME, f"{NAME}_FILE") == ",".join(keys)
    assert Path(path).read_text() == ""
    forget(NAME)
    assert f"{NAME}_FILE" not in os.environ
    assert not Path(path).exists()


def test_without_keys_nothing_is_handed_over() -> None:
    hand_over(NAME, HiddenKeys())
    assert f"{NAME}_FILE" not in os.environ
    forget(NAME)


def test_a_worker_becomes_celery_s_with_the_keys_in_a_pipe_and_may_have_the_destinations_queue_alone(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    key, became = new_key(), []
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys([key])
    monkeypatch.setattr(os, "execv", lambda program, command: became.append((program, command, dict(os.environ))))
    call_command("worker", queues="forwarding")
    [(program, command, environment)] = became
    assert program == sys.executable
    assert command[-2:] == ["--queues", "forwarding"]
    assert key not in repr((command, environment))
    assert read_file(NAME, f"{NAME}_FILE") == key
    forget(NAME)


def test_keys_are_not_shown_where_settings_are() -> None:
    key = new_key()
    assert key not in f"{HiddenKeys([key])!r} {HiddenKeys([key])}"
    assert list(HiddenKeys([key])) == [key]
