"""What the environment may say: a bad value stops the start, names its variable, and is never shown."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.processes import ROOT, manage
from webhooks.encryption import new_key

SECRET = "not-to-be-shown-4711"
PRODUCTION: dict[str, object] = {
    "HOOKLINE_ENVIRONMENT": "production",
    "SECRET_KEY": "Zq8#kP2m-vW9x!Lr4t-Yb6n@Hs3d-Gf7j$Qa1c-Ue5w%Ox0z-Ik",
    "ALLOWED_HOSTS": "hooks.example.com",
    "DATABASE_URL": "postgres://hookline@127.0.0.1:1/hookline",
    "BROKER_URL": "amqp://hookline@127.0.0.1:1//",
    "GITHUB_WEBHOOK_SECRETS": "a-secret-of-the-github-app",
    "HOOKLINE_OPERATOR_PASSWORD": "a-password-of-the-operator",
}


@pytest.mark.parametrize(
    "given",
    [
        {
            "HOOKLINE_ENVIRONMENT": SECRET,
            "HOOKLINE_PORT": SECRET,
            "HOOKLINE_FLOWER_PORT": "0",
            "HOOKLINE_QUEUE_WINDOW": "-1",
            "HOOKLINE_WORKER_CONCURRENCY": "0",
            "HOOKLINE_TIME_LIMIT": "0",
            "HOOKLINE_LOG_FORMAT": SECRET,
            "HOOKLINE_LOG_LEVEL": SECRET,
            "HOOKLINE_SOURCES": f"GitHub {SECRET}",
            "DEBUG": SECRET,
            "DATABASE_URL": f"mysql://user:{SECRET}@host/name",
            "BROKER_URL": f"sqs://user:{SECRET}@host",
        },
        {
            "HOOKLINE_PORT": "65536",
            "HOOKLINE_SOURCES": "github,github",
            "DATABASE_URL": f"postgres://user:{SECRET}@host:port/name",
        },
        {"GITHUB_WEBHOOK_SECRETS": "short"},
        {"GITHUB_WEBHOOK_SECRETS": " , "},
    ],
)
def test_bad_values_stop_the_start_and_all_are_said_by_their_variables_and_not_shown(
    tmp_path: Path, given: dict[str, str]
) -> None:
    ended = manage("check", HOOKLINE_DATA_DIR=tmp_path / "data", **given)
    assert ended.returncode == 1
    assert ended.stderr.startswith("hookline: ")
    assert [variable for variable in given if f"{variable}: " not in ended.stderr] == []
    assert SECRET not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_a_secret_can_be_given_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short")
    ended = manage("check", HOOKLINE_DATA_DIR=tmp_path / "data", GITHUB_WEBHOOK_SECRETS_FILE=tmp_path / "secret")
    assert "GITHUB_WEBHOOK_SECRETS: every secret must have" in ended.stderr


def test_a_source_without_secrets_and_keys_is_refused_by_its_variables_name() -> None:
    ended = manage("check", **PRODUCTION, HOOKLINE_SOURCES="github,our-ghes")
    assert "GITHUB_WEBHOOK_SECRETS_OUR_GHES: " in ended.stderr


def test_a_source_whose_secrets_may_be_in_the_database_needs_none_in_the_environment(tmp_path: Path) -> None:
    given = {name: value for name, value in PRODUCTION.items() if name != "GITHUB_WEBHOOK_SECRETS"}
    assert manage("check", **given, HOOKLINE_ENCRYPTION_KEYS=new_key()).returncode == 0
    assert manage("check", HOOKLINE_DATA_DIR=tmp_path / "data", HOOKLINE_SOURCES="github,our-ghes").returncode == 0


def test_production_generates_nothing_that_was_not_given() -> None:
    missing = {"SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "GITHUB_WEBHOOK_SECRETS"}
    ended = manage("check", **{name: value for name, value in PRODUCTION.items() if name not in missing})
    assert ended.returncode == 1
    assert {name for name in missing if f"{name}: " in ended.stderr} == missing


def test_production_refuses_debug() -> None:
    ended = manage("check", **PRODUCTION, DEBUG="1")
    assert ended.returncode == 1
    assert ended.stderr.startswith("hookline: DEBUG: ")


def test_the_deployment_check_is_clean_in_production(tmp_path: Path) -> None:
    ended = manage("check", "--deploy", "--fail-level", "INFO", **PRODUCTION, HOOKLINE_DATA_DIR=tmp_path / "unused")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "no issues" in ended.stdout
    assert not (tmp_path / "unused").exists()


def test_the_configuration_page_lists_every_variable_and_no_other() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|", (ROOT / "docs/configuration.md").read_text(), flags=re.MULTILINE)
    assert sorted(rows) == settings.HOOKLINE_VARIABLES
