"""The reconciler as systemd and Supervisor run it: optional, with time to stop, and not again and again for nothing."""

import configparser
from typing import Any

import pytest

from deploy.samples import Samples
from deploy.startup import summary
from tests.support.processes import ROOT, manage
from webhooks.management.commands.reconcile import NO_CREDENTIALS_STATUS
from webhooks.stop_times import RECONCILER_STOP_SECONDS

DEPLOY = ROOT / "deploy"
COMMAND = "/opt/hookline/.venv/bin/python manage.py reconcile --watch"


def section(file: str, name: str) -> configparser.SectionProxy:
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # As its documentation says.
    parsed.read(DEPLOY / file)
    return parsed[name]


def test_systemd_gives_it_its_key_and_time_and_does_not_start_it_again_without_credentials() -> None:
    service = section("systemd/hookline-reconcile.service", "Service")
    assert service["ExecStart"] == COMMAND
    assert service["EnvironmentFile"] == "/etc/hookline/reconcile"
    assert (service["KillMode"], service["KillSignal"], service["Restart"]) == ("mixed", "SIGTERM", "always")
    assert float(service["TimeoutStopSec"]) > RECONCILER_STOP_SECONDS
    assert service["RestartPreventExitStatus"] == str(NO_CREDENTIALS_STATUS)


def test_no_other_unit_is_given_the_key() -> None:
    for unit in (DEPLOY / "systemd").iterdir():
        has_it = "EnvironmentFile=/etc/hookline/reconcile" in unit.read_text()
        assert has_it is (unit.name == "hookline-reconcile.service"), unit.name


def test_supervisor_starts_it_only_once_it_is_told_to() -> None:
    program = section("supervisor/hookline.conf", "program:hookline-reconcile")
    assert (program["command"], program["autostart"]) == (COMMAND, "false")
    assert (program["autorestart"], program["exitcodes"]) == ("unexpected", str(NO_CREDENTIALS_STATUS))
    assert (program["stopsignal"], program["stopasgroup"], program["killasgroup"]) == ("TERM", "false", "false")
    assert float(program["stopwaitsecs"]) > RECONCILER_STOP_SECONDS


@pytest.mark.django_db
@pytest.mark.parametrize("is_given", [True, False])
def test_the_quickstart_starts_none_and_names_the_command_to_whoever_has_a_key(is_given: bool, settings: Any) -> None:
    key = "a key" if is_given else ""
    access = {"api_url": "https://api.github.com", "app_id": "4711", "private_key": key, "token": "", "hooks": []}
    settings.HOOKLINE_GITHUB_ACCESS = {"github": access}
    said = summary(Samples(after_delivery_id=0, sent_at=0.0), is_new=False)
    assert ("manage.py reconcile   take in what GitHub could not deliver" in said) is is_given
    assert "reconcile" not in (DEPLOY / "supervisord.conf").read_text()


def test_without_credentials_it_ends_with_a_status_of_its_own_and_says_what_to_give() -> None:
    ended = manage("reconcile", "--watch")
    assert ended.returncode == NO_CREDENTIALS_STATUS
    assert "No log can be read: give GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY" in ended.stderr
