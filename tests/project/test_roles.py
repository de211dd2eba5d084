"""What each role is asked for, and what it holds: nothing that it does not use."""

import os
from pathlib import Path

import pytest

from project.roles import ROLES, USED
from tests.project.test_environment import PRODUCTION
from tests.project.test_variables import environment, loaded, refused
from tests.support.brokers import repeated
from tests.support.processes import OUTSIDE, manage, wait_until
from tests.support.stack import running_stack

GUARDED = {
    "BROKER_URL": "amqp://hookline:the-password-of-the-broker@127.0.0.1:1//",
    "DATABASE_URL": "postgres://hookline:the-password-of-the-database@127.0.0.1:1/hookline",
    "FLOWER_OAUTH2_SECRET": "the-secret-of-flower-at-its-provider",
    "GITHUB_API_TOKEN": "the-token-of-the-hooks",
    "GITHUB_API_TOKEN_GHES": "the-token-of-the-server",
    "GITHUB_APP_PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\\nthekeyoftheapp\\n-----END PRIVATE KEY-----",
    "GITHUB_WEBHOOK_SECRETS": "the-secret-of-the-app",
    "GITHUB_WEBHOOK_SECRETS_GHES": "the-secret-of-the-server",
    "HOOKLINE_DESTINATION_KEYS": "dGhlLWtleS10aGF0LWVuY3J5cHRzLXRhcmdldHM3ODk=",
    "HOOKLINE_ENCRYPTION_KEYS": "dGhlLWtleS10aGF0LWVuY3J5cHRzLW90aGVyLXNlY3I=",
    "HOOKLINE_OIDC_CLIENT_SECRET": "the-secret-of-the-provider",
    "HOOKLINE_OPERATOR_PASSWORD": "the-password-of-the-operator",
    "HOOKLINE_PAYLOAD_KEYS": "dGhlLWtleS10aGF0LWVuY3J5cHRzLXBheWxvYWRzIDE=",
    "HOOKLINE_TOKEN": "hookline_the-token-of-a-developer",
    "SECRET_KEY": "the-key-of-the-sessions-which-is-long-enough-for-django",
}
OPTIONAL = {
    *("BROKER_URL", "FLOWER_OAUTH2_SECRET", "HOOKLINE_OIDC_CLIENT_SECRET", "HOOKLINE_OPERATOR_PASSWORD"),
    *("GITHUB_API_TOKEN", "GITHUB_APP_PRIVATE_KEY", "HOOKLINE_DESTINATION_KEYS", "HOOKLINE_ENCRYPTION_KEYS"),
    *("HOOKLINE_PAYLOAD_KEYS", "HOOKLINE_TOKEN"),
}
"""They have a default, are needed only with another variable, or `manage.py flower` says what it wants."""
WORDS = {name: value.partition("hookline:")[2].partition("@")[0] or value for name, value in GUARDED.items()}
WORDS["GITHUB_APP_PRIVATE_KEY"] = "thekeyoftheapp"

__all__ = ["environment"]  # A fixture that is used by being there.


def used_by(role: str) -> frozenset[str]:
    return frozenset(name for name in GUARDED if name.removesuffix("_GHES") in USED[role])


@pytest.mark.parametrize("role", sorted(USED))
def test_a_role_starts_in_production_with_what_it_uses_alone(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    for name in PRODUCTION.keys() - USED[role] - {"HOOKLINE_ENVIRONMENT"}:
        monkeypatch.delenv(name)
    found = loaded(monkeypatch, HOOKLINE_ROLE=role)
    assert len(found["SECRET_KEY"]) >= 50
    assert found["HOOKLINE_ROLE"] == role


@pytest.mark.parametrize(
    ("role", "name"),
    [(role, name) for role in USED for name in sorted(USED[role] - OPTIONAL)],
)
def test_a_role_is_refused_without_what_it_uses(monkeypatch: pytest.MonkeyPatch, role: str, name: str) -> None:
    monkeypatch.delenv(name)
    assert refused(monkeypatch, HOOKLINE_ROLE=role).keys() == {name}


@pytest.mark.parametrize("role", sorted(USED))
@pytest.mark.parametrize("environment_name", ["embedded", "production"])
@pytest.mark.parametrize("as_files", [False, True])
def test_a_role_holds_nothing_of_what_it_does_not_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, role: str, environment_name: str, as_files: bool
) -> None:
    for name, value in GUARDED.items():
        monkeypatch.delenv(name, raising=False)
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(f"{name}_FILE" if as_files else name, str(tmp_path / name) if as_files else value)
    found = loaded(
        monkeypatch,
        HOOKLINE_ROLE=role,
        HOOKLINE_ENVIRONMENT=environment_name,
        HOOKLINE_DATA_DIR=tmp_path / "data",
        HOOKLINE_SOURCES="github,ghes",
        GITHUB_APP_ID="4711",
        GITHUB_HOOKS="orgs/acme/hooks/12",
        GITHUB_HOOKS_GHES="orgs/acme/hooks/12",
    )
    assert WORDS["HOOKLINE_DESTINATION_KEYS"] not in repr(found)
    held = repr({**found, "HOOKLINE_DESTINATION_KEYS": list(found["HOOKLINE_DESTINATION_KEYS"])})
    assert {name for name, word in WORDS.items() if word in held} == used_by(role)
    left = used_by(role) - ({"HOOKLINE_DESTINATION_KEYS"} if role == "worker" else set())
    assert {name for name in GUARDED if {name, f"{name}_FILE"} & os.environ.keys()} == left


def test_two_workers_without_a_key_have_each_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (loaded(monkeypatch, HOOKLINE_ROLE="worker")["SECRET_KEY"] for _ in range(2))
    assert first != second


def test_a_role_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must be one of" in refused(monkeypatch, HOOKLINE_ROLE="boss")["HOOKLINE_ROLE"]
    assert set(ROLES) == {*USED, "all"}


def test_a_command_s_role_is_its_own_whatever_the_variable_says() -> None:
    given = {name: value for name, value in PRODUCTION.items() if name != "SECRET_KEY"}
    ended = manage("receiver", **given, HOOKLINE_ROLE="worker")
    assert ended.returncode == 1
    assert ended.stderr.startswith("hookline: SECRET_KEY: ")


@pytest.mark.parametrize("command", ["check", repeated("send_webhook")])
def test_any_other_command_uses_everything_unless_it_is_told_its_role(command: str) -> None:
    given = {name: value for name, value in PRODUCTION.items() if name != "SECRET_KEY"}
    assert manage(command, **given).stderr.startswith("hookline: SECRET_KEY: ")
    assert "SECRET_KEY" not in manage(command, **given, HOOKLINE_ROLE="worker").stderr


@pytest.mark.parametrize("broker", ["filesystem"])
def test_a_handler_finds_no_secret_that_its_worker_does_not_use(tmp_path: Path, broker: str) -> None:
    given = {name: value for name, value in GUARDED.items() if name not in USED["worker"]}
    variables = {"HOOKLINE_APPS": "nosy_bot", "PYTHONPATH": str(OUTSIDE), **given}
    with running_stack(tmp_path, database="sqlite", broker=broker, **variables) as stack:
        stack.start_all(concurrency=1)
        assert stack.send("tell", secret=GUARDED["GITHUB_WEBHOOK_SECRETS"])[0] == 202
        wait_until(lambda: stack.effects.exists() and stack.effects.read_text().endswith("end"), what="it to tell")
        told = stack.effects.read_text()
        # What a worker was started with stays in /proc of whoever started it, not of what it has become.
        assert [name for name, word in WORDS.items() if word in told] == []
