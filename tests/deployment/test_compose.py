"""deploy/compose.yaml and its variation for Redis: every setting, probe and secret that they ask for is there."""

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.urls import Resolver404, resolve

from project.roles import USED
from tests.support.processes import ROOT
from webhooks.receiver.server import STOP_MARGIN_SECONDS
from webhooks.stop_times import RECONCILER_STOP_SECONDS

DEPLOY = ROOT / "deploy"
ROLES = {"receiver", "relay", "reconcile", "worker", "flower", "migrate"}
OPTIONAL = {"reconcile"}
"""Roles that run only if their profile is asked for, since GitHub gives out what they need."""
PROBE_PORT = 8001
"""HOOKLINE_PROBE_PORT in production."""

FLOWER_PORT = 5555


def compose(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return parsed


def seconds(duration: str) -> int:
    return int(re.fullmatch(r"(\d+)s", duration)[1])  # type: ignore[index]  # A mismatch must fail.


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose("compose.yaml")["services"]
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("secrets") / "secrets"
    subprocess.run([DEPLOY / "image" / "make-secrets.sh", directory], check=True, timeout=30)
    return directory


def test_every_role_runs_the_image_with_its_name_as_its_command(services: dict[str, Any]) -> None:
    roles = {name: service for name, service in services.items() if name in ROLES}
    assert roles.keys() == ROLES
    more = {"reconcile": ["--watch"]}
    assert all(service["command"] == [name, *more.get(name, [])] for name, service in roles.items())
    assert all(service["image"] == "${IMAGE:-localhost/hookline:latest}" for service in roles.values())
    assert not any("entrypoint" in service or "user" in service for service in roles.values())


def test_every_role_has_a_read_only_file_system_and_no_privileges(services: dict[str, Any]) -> None:
    for role in ROLES:
        asked = {name: services[role][name] for name in ("read_only", "tmpfs", "cap_drop", "security_opt")}
        assert asked == {
            "read_only": True,
            "tmpfs": ["/tmp"],
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
        }


def test_every_variable_is_one_that_settings_know(services: dict[str, Any]) -> None:
    given = {name.removesuffix("_FILE") for role in ROLES for name in services[role]["environment"]}
    example = re.findall(r"^#?([A-Z_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    for_compose_alone = {"IMAGE", "BIND_ADDRESS"}
    assert given | set(example) <= {*settings.HOOKLINE_VARIABLES, *for_compose_alone, "COMPOSE_PROFILES"}
    read = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert read == {*for_compose_alone, "FLOWER_URL_PREFIX"}


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_is_given_what_it_uses_and_nothing_else(services: dict[str, Any], role: str) -> None:
    given = {name.removesuffix("_FILE") for name in services[role]["environment"]}
    # The secrets of identity providers, tokens of hooks, and keys of payloads are for those who have one.
    optional = {"FLOWER_OAUTH2_SECRET", "GITHUB_API_TOKEN", "HOOKLINE_OIDC_CLIENT_SECRET", "HOOKLINE_PAYLOAD_KEYS"}
    if role == "worker":  # See compose.github-api.yaml.
        optional |= {"GITHUB_APP_PRIVATE_KEY"}
    assert given == USED[role] - {"ALLOWED_HOSTS", *optional}
    assert set(services[role]["secrets"]) == given
    assert services[role]["env_file"] == [".env"]
    assert re.search(r"^ALLOWED_HOSTS=", (DEPLOY / ".env.example").read_text(), re.MULTILINE)


def test_a_worker_is_gone_by_itself_before_it_would_be_killed(services: dict[str, Any]) -> None:
    assert seconds(services["worker"]["stop_grace_period"]) >= settings.HOOKLINE_GRACE_SECONDS + 5


def test_a_receiver_may_drain_and_wait_for_the_slowest_body_before_it_would_be_killed(services: dict[str, Any]) -> None:
    drain_seconds = 5  # Production's.
    longest = drain_seconds + settings.HOOKLINE_BODY_SECONDS + STOP_MARGIN_SECONDS
    assert seconds(services["receiver"]["stop_grace_period"]) > longest


def test_whatever_runs_on_has_a_health_check_and_a_grace_period(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert "stop_grace_period" in service, name
        assert ("healthcheck" in service) == (name != "migrate"), name


@pytest.mark.parametrize(
    ("role", "port"),
    [
        ("receiver", 8000),
        ("relay", PROBE_PORT),
        ("reconcile", PROBE_PORT),
        ("worker", PROBE_PORT),
        ("flower", FLOWER_PORT),
    ],
)
def test_every_health_check_asks_for_a_page_that_is_there(services: dict[str, Any], role: str, port: int) -> None:
    *command, script = services[role]["healthcheck"]["test"]
    script = script.replace("' + '/${FLOWER_URL_PREFIX:-}/healthcheck'.replace('//', '/')", "/healthcheck'")
    asked = re.search(r"urlopen\('http://127\.0\.0\.1:(\d+)(/\w+)', timeout=(\d+)\)", script)
    assert asked
    assert (command, int(asked[1])) == (["CMD", "python", "-c"], port)
    assert int(asked[3]) < seconds(services[role]["healthcheck"]["timeout"])
    if role == "flower":
        assert asked[2] == "/healthcheck"
    else:
        resolve(asked[2])
        with pytest.raises(Resolver404):
            resolve(asked[2] + "-not")


def test_a_reconciler_runs_only_where_its_profile_is_asked_for_and_is_gone_before_it_would_be_killed(
    services: dict[str, Any],
) -> None:
    assert {name for name, service in services.items() if "profiles" in service} == OPTIONAL
    assert services["reconcile"]["profiles"] == ["reconcile"]
    assert "broker" not in services["reconcile"]["depends_on"], "It does not use it."
    assert seconds(services["reconcile"]["stop_grace_period"]) >= RECONCILER_STOP_SECONDS + 5


def test_the_roles_wait_for_the_migration_and_the_migration_for_the_database(services: dict[str, Any]) -> None:
    for role in ROLES - {"migrate"}:
        assert services[role]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}


def test_nothing_listens_to_the_outside_unless_it_is_told_to(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in ports)


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.redis.yaml"]])
def test_every_secret_that_is_mounted_is_made_and_every_variable_finds_its_file(
    secrets: Path, files: list[str]
) -> None:
    described: dict[str, Any] = {}
    for file in files:
        described |= compose(file)["secrets"]
    made = {f"secrets/{path.name}" for path in secrets.iterdir()}
    # The App's key is GitHub's to give; only what has a profile of its own mounts it.
    assert {secret["file"] for secret in described.values()} - made == {"secrets/GITHUB_APP_PRIVATE_KEY"}
    asked = {name for name, one in compose("compose.yaml")["services"].items() if _mounts_the_key(one)}
    assert asked == OPTIONAL
    for service in compose("compose.yaml")["services"].values():
        mounted = {f"/run/secrets/{name}" for name in service.get("secrets", [])}
        assert mounted <= {f"/run/secrets/{name}" for name in described}
        paths = {value for value in service.get("environment", {}).values() if value.startswith("/run/secrets/")}
        assert paths == mounted


def _mounts_the_key(service: dict[str, Any]) -> bool:
    return "GITHUB_APP_PRIVATE_KEY" in service.get("secrets", [])


def test_the_broker_knows_the_password_that_its_url_has(secrets: Path) -> None:
    password = (secrets / "BROKER_PASSWORD").read_text()
    assert re.fullmatch("[0-9a-f]{64}", password)
    for url, configuration in [("BROKER_URL", "rabbitmq.conf"), ("BROKER_URL.redis", "redis.conf")]:
        assert f":{password}@broker/" in (secrets / url).read_text()
        assert password in (secrets / configuration).read_text()


def test_secrets_are_for_their_owner_alone_and_are_never_made_anew(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([DEPLOY / "image" / "make-secrets.sh", secrets], check=True, timeout=30)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before


def test_the_variation_changes_the_broker_and_nothing_else() -> None:
    variation, plain = compose("compose.redis.yaml"), compose("compose.yaml")
    assert variation["services"].keys() == {"broker"}
    assert variation["secrets"].keys() == {"BROKER_URL", "broker.conf"} <= plain["secrets"].keys()


def test_what_gives_workers_the_apps_key_gives_them_a_secret_that_is_described_and_that_they_use() -> None:
    [(name, worker)] = compose("compose.github-api.yaml")["services"].items()
    given = {one.removesuffix("_FILE") for one in worker["environment"]}
    assert (name, given) == ("worker", {"GITHUB_APP_PRIVATE_KEY"})
    assert given <= USED["worker"]
    assert set(worker["secrets"]) == given <= compose("compose.yaml")["secrets"].keys()
    assert list(worker["environment"].values()) == [f"/run/secrets/{one}" for one in worker["secrets"]]
