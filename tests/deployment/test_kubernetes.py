"""The manifests as kubectl renders them: every overlay, and every combination of components that is allowed."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.urls import resolve
from flower.urls import handlers as flower_handlers  # type: ignore[import-untyped]
from kubernetes_validate import utils as schemas  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry

from project.roles import GUARDED, USED
from tests.support.brokers import repeated
from tests.support.github.server import GitHub
from tests.support.kubernetes import (
    KUBERNETES,
    OVERLAYS,
    Document,
    combination,
    kustomize,
    needs_kubectl,
    overlay,
    parsed,
    pod_of,
    renderings,
    runs_hookline,
)
from tests.support.processes import manage
from webhooks.encryption import new_key
from webhooks.paths import PROBES
from webhooks.probe_server import Health
from workers.deployment.manifests import Manifest, Workload, workloads

# The first test that reads them renders all: 130 short processes, which take their time on a machine that is busy.
pytestmark = [needs_kubectl, pytest.mark.timeout(900)]

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
OPERATORS = ("ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication")
"""Kinds that an operator brings; Kubernetes has no schema of them."""
KUBERNETES_PAGE = KUBERNETES.parent.parent / "docs" / "kubernetes.md"
CLUSTER_WIDE = ("Namespace",)


def everything() -> Iterator[tuple[str, Document]]:
    """Yield each document that differs, with the name of the first rendering that holds it."""
    seen = set()
    for name, documents in renderings().items():
        for document in documents:
            text = json.dumps(document, sort_keys=True)
            if text not in seen:
                seen.add(text)
                yield f"{name}: {document['kind']} {document['metadata']['name']}", document


def pods() -> Iterator[tuple[str, Document, Document]]:
    for name, document in everything():
        template = pod_of(document)
        if template:
            yield name, document, template


def containers(template: Document) -> list[Document]:
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]


def selects(selector: Document, labels: Document) -> bool:
    """Tell whether a label selector, in its full form or as a mapping alone, selects these labels."""
    plain = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return plain.items() <= labels.items() and all(labels.get(one["key"]) in one["values"] for one in expressions)


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def programs(documents: list[Document]) -> list[Workload]:
    return workloads(Manifest("rendered", document) for document in documents)


# --- Whether Kubernetes takes them ------------------------------------------------------------------------------------


@pytest.fixture
def quick_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "schema_contents", functools.cache(schemas.schema_contents))


@pytest.mark.usefixtures("quick_schemas")
@pytest.mark.parametrize("version", [*map(repeated, VERSIONS[:-1]), VERSIONS[-1]])
def test_every_document_is_valid_for_this_kubernetes(version: str) -> None:
    for name, document in everything():
        if document["kind"] in OPERATORS:
            continue
        try:
            schemas.validate(document, version, strict=True)
        except schemas.ValidationError as error:
            pytest.fail(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")


@pytest.mark.usefixtures("quick_schemas")
def test_the_schemas_would_find_a_field_that_does_not_exist() -> None:
    deployment = next(one for _, one in everything() if one["kind"] == "Deployment")
    broken = json.loads(json.dumps(deployment))
    broken["spec"]["template"]["spec"]["terminationGraceSeconds"] = 60
    with pytest.raises(schemas.ValidationError, match="terminationGraceSeconds"):
        schemas.validate(broken, VERSIONS[0], strict=True)


def test_everything_is_in_the_namespace_that_demands_the_restricted_standard() -> None:
    for name, document in everything():
        if document["kind"] not in CLUSTER_WIDE:
            assert document["metadata"].get("namespace") == "hookline", name
    for name, documents in renderings().items():
        [namespace] = of_kind(documents, "Namespace")
        assert namespace["metadata"]["name"] == "hookline", name
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted", name


def test_every_container_meets_the_restricted_standard() -> None:
    for name, document, template in pods():
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & template["spec"].keys(), name
        assert all({"secret", "configMap", "emptyDir"} & volume.keys() for volume in template["spec"]["volumes"]), name
        for container in containers(template):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert own.get("readOnlyRootFilesystem", not runs_hookline(document)) is True, name


def test_no_pod_gets_a_token_or_variables_of_services() -> None:
    for name, document, template in pods():
        assert template["spec"]["automountServiceAccountToken"] is False, name
        assert template["spec"]["enableServiceLinks"] is False, name
        assert not runs_hookline(document) or "serviceAccountName" in template["spec"], name
    for name, document in everything():
        if document["kind"] == "ServiceAccount":
            assert document["automountServiceAccountToken"] is False, name


def test_every_container_of_ours_says_what_it_needs_and_no_cpu_limit_slows_it() -> None:
    for name, document, template in pods():
        if not runs_hookline(document):
            continue
        for container in containers(template):
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert container["resources"]["limits"].keys() == {"memory"}, name


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_pins_every_image(name: str) -> None:
    for document in parsed(overlay(name)):
        for container in containers(pod_of(document) or {"spec": {"containers": []}}):
            assert container["image"].rpartition(":")[2] not in ("", "latest", container["image"]), document["metadata"]


# --- Whether they fit each other --------------------------------------------------------------------------------------


def test_every_selector_finds_its_pods_and_every_reference_its_object() -> None:
    for name, documents in renderings().items():
        labels = [template["metadata"]["labels"] for template in map(pod_of, documents) if template]
        names = {(document["kind"], document["metadata"]["name"]) for document in documents}
        for document in of_kind(documents, "Service", "PodDisruptionBudget"):
            found = [one for one in labels if selects(document["spec"]["selector"], one)]
            assert len(found) == 1, f"{name}: {document['metadata']['name']}"
        for document in of_kind(documents, "NetworkPolicy"):
            assert any(selects(document["spec"]["podSelector"], one) for one in labels), name
        for document in of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject"):
            assert ("Deployment", document["spec"]["scaleTargetRef"]["name"]) in names, name
        for template in filter(None, map(pod_of, documents)):
            account = template["spec"].get("serviceAccountName")
            assert account is None or ("ServiceAccount", account) in names, name


def test_every_deployment_selects_its_own_pods_and_no_others() -> None:
    for name, documents in renderings().items():
        for document in of_kind(documents, "Deployment"):
            chosen = [
                other["metadata"]["name"]
                for other in documents
                if (template := pod_of(other)) and selects(document["spec"]["selector"], template["metadata"]["labels"])
            ]
            assert chosen == [document["metadata"]["name"]], name


def test_every_pod_is_closed_to_whoever_no_policy_lets_in() -> None:
    for name, documents in renderings().items():
        policies = [document["spec"] for document in of_kind(documents, "NetworkPolicy")]
        assert {"podSelector": {}, "policyTypes": ["Ingress"]} in policies, name
        for program in programs(documents):
            labels = program.manifest.body["spec"]["template"]["metadata"]["labels"]
            rules = [rule for one in policies if selects(one["podSelector"], labels) for rule in one.get("ingress", ())]
            ports = {port["port"] for rule in rules for port in rule["ports"]}
            open_ports = {"receiver": {"http"}, **{role: {"metrics"} for role in ("worker", "relay", "reconcile")}}
            if "console-ingress" in name:
                open_ports["flower"] = {"http"}
            assert ports == open_ports.get(program.role, set()), f"{name}: {program}"


def test_a_budget_lets_one_pod_go_at_a_time_of_whatever_must_go_on() -> None:
    for name, documents in renderings().items():
        budgets = [document["spec"] for document in of_kind(documents, "PodDisruptionBudget")]
        assert all(budget["maxUnavailable"] == 1 for budget in budgets), name
        for program in programs(documents):
            labels = program.manifest.body["spec"]["template"]["metadata"]["labels"]
            wanted = program.role in ("receiver", "relay", "worker")
            assert any(selects(budget["selector"], labels) for budget in budgets) is wanted, f"{name}: {program}"


def test_a_rollout_adds_a_pod_before_it_takes_one() -> None:
    for name, documents in renderings().items():
        for program in programs(documents):
            if program.role in ("receiver", "relay", "worker"):
                assert (program.surge, program.unavailable) == (1, 0), f"{name}: {program}"


# --- Whether they fit the code ----------------------------------------------------------------------------------------


def test_every_probe_asks_for_what_the_program_answers() -> None:
    silent = Health(live=list, ready=list, started=list, registry=CollectorRegistry())
    flower_paths = {one[0] if isinstance(one, tuple) else one.regex.pattern for one in flower_handlers}
    for name, documents in renderings().items():
        for program in programs(documents):
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = program.probe(kind)
                if program.role == "migrate":
                    assert probe is None
                    continue
                assert probe is not None, f"{name}: {program}"
                assert probe.path is not None, f"{name}: {program}"
                if program.role == "receiver":
                    assert probe.path in PROBES, f"{name}: {program}"
                    resolve(probe.path)
                elif program.role == "flower":
                    prefix = program.variables.get("FLOWER_URL_PREFIX", "")
                    assert probe.path.removeprefix(f"/{prefix}" if prefix else "") in flower_paths, f"{name}: {program}"
                else:
                    assert silent.answer(probe.path)[0] == 200, f"{name}: {program}"


def test_every_variable_is_one_that_settings_read() -> None:
    known = {*settings.HOOKLINE_VARIABLES, *(f"{name}_FILE" for name in settings.HOOKLINE_VARIABLES)}
    for name, documents in renderings().items():
        for program in programs(documents):
            assert program.variables.keys() <= known, f"{name}: {program}"


@pytest.mark.parametrize("role", ["receiver", "worker", "reconcile", *map(repeated, ["relay", "flower", "migrate"])])
def test_hookline_starts_with_what_production_tells_it(role: str, tmp_path: Path) -> None:
    rendered = combination(("reconcile",)) if role == "reconcile" else overlay("production")
    [program] = [one for one in programs(parsed(rendered)) if one.role == role]
    secrets = {
        "SECRET_KEY": "a long and random key, with 50 characters or more of it",
        "DATABASE_URL": "postgres://hookline:secret@postgres.example.com/hookline",
        "BROKER_URL": "amqps://hookline:secret@rabbitmq.example.com//",
        "GITHUB_WEBHOOK_SECRETS": "a secret of sixteen or more",
        "HOOKLINE_ENCRYPTION_KEYS": new_key(),
        "HOOKLINE_DESTINATION_KEYS": new_key(),
        "HOOKLINE_OPERATOR_PASSWORD": "a password",
        "GITHUB_APP_ID": "4711",
        "GITHUB_APP_PRIVATE_KEY": GitHub().app.private_key,
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in program.container["volumeMounts"]}
    paths = {path for volume, path in mounts.items() if volume != "tmp"}
    variables = dict(program.variables)
    for variable, value in program.variables.items():
        if variable in secrets and not value:
            variables[variable] = secrets[variable]  # From a key of a Secret.
        if variable.endswith("_FILE"):
            if variable.removesuffix("_FILE") in GUARDED - USED[role]:
                continue  # The ConfigMap names it for all; it is not mounted here.
            # Its file is a key of a Secret that is mounted there, and nowhere else.
            assert str(Path(value).parent) in paths
            (tmp_path / Path(value).name).write_text(secrets[Path(value).name])
            variables[variable] = str(tmp_path / Path(value).name)
    # Who answers nobody is not told ALLOWED_HOSTS, which the check of a deployment wants of everybody.
    options = ["--deploy"] if "ALLOWED_HOSTS" in variables else []
    ended = manage("check", *options, "--fail-level", "WARNING", HOOKLINE_ROLE=role, **variables)
    assert ended.returncode == 0, ended.stderr


WHOLE = {"receiver": "hookline-secrets", "flower": "hookline-flower", "reconcile": "hookline-github"}
"""The Secrets that a role mounts with all their keys."""


def test_no_pod_mounts_a_secret_that_its_role_does_not_use() -> None:
    for name, documents in renderings().items():
        for program in programs(documents):
            mounted = {mount["name"] for mount in program.container["volumeMounts"]}
            secrets = [one["secret"] for one in program.pod["volumes"] if one["name"] in mounted and "secret" in one]
            keys = {item["key"] for one in secrets for item in one.get("items", [])}
            assert keys <= {"GITHUB_APP_ID", *USED[program.role]}, name  # An id is no secret, and lies beside the key.
            whole = [one["secretName"] for one in secrets if "items" not in one]
            assert all(one.startswith(WHOLE.get(program.role, "none")) for one in whole), f"{name}: {program}"


def test_every_pod_finds_the_certificate_of_an_authority_of_ones_own() -> None:
    [path] = set(re.findall(r"HOOKLINE_BROKER_CA_FILE=([^`]+)", KUBERNETES_PAGE.read_text()))
    for name, documents in renderings().items():
        for program in programs(documents):
            volumes = {one["name"]: one.get("configMap", {}) for one in program.pod["volumes"]}
            at_its_folder = [
                volumes[mount["name"]]
                for mount in program.container["volumeMounts"]
                if mount["mountPath"] == str(Path(path).parent)
            ]
            assert at_its_folder == [{"name": "hookline-authorities", "optional": True}], f"{name}: {program}"


def test_the_migration_is_told_of_nothing_that_it_does_not_use() -> None:
    for name, documents in renderings().items():
        for program in programs(documents):
            if program.role == "migrate":
                told = {variable.removesuffix("_FILE") for variable in program.variables}
                assert not told & (GUARDED - USED["migrate"]), name


# --- What an apply does -----------------------------------------------------------------------------------------------


def changed(tmp_path: Path, **words: str) -> list[Document]:
    """Return production's documents as they are once these words in it have been replaced."""
    text = (KUBERNETES / "overlays" / "production" / "kustomization.yaml").read_text()
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    body = yaml.safe_load(text)
    for name in ("resources", "components"):
        body[name] = [str(Path("k") / path.removeprefix("../../")) for path in body[name]]
    (tmp_path / "k").symlink_to(KUBERNETES)
    (tmp_path / "kustomization.yaml").write_text(json.dumps(body))
    return parsed(kustomize(tmp_path))


def by_name(documents: list[Document]) -> dict[tuple[str, str], Any]:
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def migration(documents: list[Document]) -> Document:
    [job] = of_kind(documents, "Job")
    return job


def test_a_new_image_brings_a_new_migration_beside_the_old_one(tmp_path: Path) -> None:
    old, new = parsed(overlay("production")), changed(tmp_path, **{"0.1.0": "0.2.0-rc.1"})
    assert by_name(old).keys() - by_name(new).keys() == {("Job", migration(old)["metadata"]["name"])}
    [container] = migration(new)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/hookline:0.2.0-rc.1"


@pytest.mark.parametrize("variable", ["ALLOWED_HOSTS=webhooks.example.com", "HOOKLINE_GRACE_SECONDS=80"])
def test_a_changed_variable_leaves_the_migration_as_it_is(variable: str, tmp_path: Path) -> None:
    new = changed(tmp_path, **{"ALLOWED_HOSTS=hooks.example.com": variable})
    assert json.dumps(migration(new)) == json.dumps(migration(parsed(overlay("production"))))


def test_a_migration_that_differs_in_anything_has_another_name() -> None:
    """A Job's template cannot be changed: with a component more, or after an upgrade, an apply would be refused."""
    jobs = [migration(documents) for documents in renderings().values()]
    names = {json.dumps(job): job["metadata"]["name"] for job in jobs}
    assert len(names) == len(set(names.values())) > 2


@pytest.mark.parametrize(
    "image",
    [
        repeated({"registry.example.com/hookline": "registry.example.com:5000/hookline"}),
        {"newTag: 0.1.0": f"digest: sha256:{'0123456789abcdef' * 4}"},
        repeated({"0.1.0": "Release_2.0-RC1"}),
        repeated({"0.1.0": "v" + "1" * 127}),
        {"registry.example.com/hookline": "r/" + "long-" * 40 + "hookline"},
    ],
)
def test_whatever_the_image_is_called_every_name_is_one_for_kubernetes(image: dict[str, str], tmp_path: Path) -> None:
    for document in changed(tmp_path, **image):
        assert re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", document["metadata"]["name"]), document["metadata"]


def test_a_changed_variable_is_rolled_out_like_a_changed_image(tmp_path: Path) -> None:
    old = by_name(parsed(overlay("production")))
    new = by_name(changed(tmp_path, **{"ALLOWED_HOSTS=hooks": "ALLOWED_HOSTS=webhooks"}))
    for role in ("receiver", "relay", "worker", "flower"):
        assert old["Deployment", role]["spec"]["template"] != new["Deployment", role]["spec"]["template"]
