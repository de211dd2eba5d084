"""The components: what each of them does to the rendered manifests, and the metrics that they ask for."""

import json
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from tests.support.deployments import around
from tests.support.inbox_rows import make_job
from tests.support.kubernetes import (
    KUBERNETES,
    Document,
    RefusedError,
    allowed_combinations,
    combination,
    compatibility,
    key_of,
    kustomize,
    leftovers,
    needs_kubectl,
    parsed,
    pod_of,
    renderings,
    runs_hookline,
)
from tests.support.monitoring import COMPONENTS, alerts, queries
from tests.support.processes import ROOT
from webhooks.console import urls as console_urls
from webhooks.console.navigation import MENU
from webhooks.inbox.due import waiting_in
from webhooks.models import Job
from webhooks.paths import API, PROBES, WEBHOOKS
from webhooks.states import AttemptOutcome, JobState
from webhooks.stop_times import RECONCILER_STOP_SECONDS
from workers.deployment import notes
from workers.deployment.capacity import API_CHILD_MB, API_PARENT_MB
from workers.deployment.deployed import Deployed
from workers.deployment.manifests import Manifest, Workload, workloads

pytestmark = pytest.mark.timeout(900)  # The first test that needs them renders all combinations.

OF_THE_FLEET = re.compile("hookline_(?:queue_|dead_jobs)")


def documents(*components: str) -> dict[tuple[str, str], Document]:
    rendered = parsed(combination(components))
    return {(one["kind"], one["metadata"]["name"]): one for one in rendered}


def program(name: str, *components: str) -> Workload:
    manifests = [Manifest("rendered", one) for one in parsed(combination(components))]
    [found] = [one for one in workloads(manifests) if one.manifest.name == name]
    return found


# --- The table --------------------------------------------------------------------------------------------------------


def test_the_table_names_every_component_and_each_has_a_readme() -> None:
    assert sorted(compatibility()) == sorted(path.name for path in COMPONENTS.iterdir())
    for name in compatibility():
        assert (COMPONENTS / name / "README.md").read_text().startswith(f"# {name}\n")


def test_exclusions_are_mutual_and_of_those_who_say_how_many_workers_there_are() -> None:
    scaling = {"backlog-autoscaling", "keda", "single-flight"}
    assert {name: excluded for name, excluded in compatibility().items() if excluded} == {
        name: scaling - {name} for name in scaling
    }
    assert len(list(allowed_combinations())) == 4 * 2 ** (len(compatibility()) - len(scaling))


@needs_kubectl
@pytest.mark.parametrize("pair", sorted(permutations(["backlog-autoscaling", "keda", "single-flight"], 2)))
def test_two_that_exclude_each_other_are_refused_or_the_later_one_wins(pair: tuple[str, str]) -> None:
    try:
        both = documents(*pair)
    except RefusedError:
        both = None
    assert both in (None, documents(pair[1]))


@needs_kubectl
def test_there_is_one_who_says_how_many_workers_there_are() -> None:
    for name, rendered in renderings().items():
        for one in workloads(Manifest("rendered", document) for document in rendered):
            sayers = len(one.autoscalers) + ("replicas" in one.manifest.spec)
            assert sayers == (0 if one.role == "migrate" else 1), f"{name}: {one}"


@needs_kubectl
@pytest.mark.parametrize("name", compatibility())
def test_what_stays_behind_of_a_component_is_in_the_table(name: str) -> None:
    base, rendered = ({key_of(one) for one in documents(*names).values()} for names in ((), (name,)))
    # A changed pod of the migration is a Job more, which ends by itself; changed variables are a ConfigMap more.
    generated = ("job/", "configmap/hookline-config-")
    stays = {key for key in rendered - base if not key.startswith(generated)}
    assert leftovers().get(name, frozenset()) == stays
    removes = {"horizontalpodautoscaler/worker"} if name in ("keda", "single-flight") else set()
    assert {key for key in base - rendered if not key.startswith(generated)} == removes


@needs_kubectl
def test_a_component_that_leaves_the_migration_as_it_is_has_it_not_run_again() -> None:
    migration = {key for key in map(key_of, documents().values()) if key.startswith("job/")}
    again = {name for name in compatibility() if not migration <= {key_of(one) for one in documents(name).values()}}
    assert again == {"istio"}  # It changes a label of its pod.


def named_in(body: Any) -> Iterator[str]:
    """Yield the names of other objects that a document holds, but for Secrets that pods and routes mount."""
    if isinstance(body, list):
        for one in body:
            yield from named_in(one)
    if isinstance(body, dict):
        for key, value in body.items():
            if key in ("scaleTargetRef", "authenticationRef", "service", "configMapRef"):
                yield value["name"]
            elif key == "serviceAccountName":
                yield value
            elif key == "secretTargetRef":
                yield from (one["name"] for one in value)
            yield from named_in(value)


@needs_kubectl
@pytest.mark.parametrize("scaling", ["backlog-autoscaling", "keda", "single-flight"])
def test_an_overlays_prefix_and_a_secrets_hash_reach_every_place_where_a_name_is_named(scaling: str) -> None:
    names = [name for name, excluded in compatibility().items() if scaling not in excluded]
    rendered = parsed(combination(tuple(names), prefix="acme-", secret="hookline-keda"))
    own = {one["metadata"]["name"] for one in rendered if one["kind"] != "Namespace"}
    assert all(name.startswith("acme-") for name in own)
    assert {name for one in rendered for name in named_in(one.get("spec", {}))} <= own


# --- Each of them -----------------------------------------------------------------------------------------------------


@needs_kubectl
def test_backlog_autoscaling_asks_for_age_and_depth_of_a_queue_beside_cpu() -> None:
    metrics = documents("backlog-autoscaling")["HorizontalPodAutoscaler", "worker"]["spec"]["metrics"]
    external = [one["external"]["metric"] for one in metrics if one["type"] == "External"]
    assert {one["name"] for one in external} == {"hookline_queue_oldest_waiting_seconds", "hookline_queue_waiting_jobs"}
    assert all(one["selector"] == {"matchLabels": {"queue": "default"}} for one in external)
    assert [one["resource"]["name"] for one in metrics if one["type"] == "Resource"] == ["cpu"]
    rules = yaml.safe_load((COMPONENTS / "backlog-autoscaling" / "prometheus-adapter.yaml").read_text())["rules"]
    assert {rule["name"]["as"] for rule in rules["external"]} == {one["name"] for one in external}


@needs_kubectl
def test_keda_takes_the_place_of_the_autoscaler_with_a_fallback_and_a_secret_of_its_own() -> None:
    rendered = documents("keda")
    assert ("HorizontalPodAutoscaler", "worker") not in rendered
    scaled = rendered["ScaledObject", "worker"]["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 5)
    assert scaled["fallback"]["replicas"] >= 1
    for trigger in scaled["triggers"]:
        assert ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in rendered
        # KEDA falls back only where the target is an average.
        assert trigger["metricType"] == "AverageValue"
    assert "autoscaling.keda.sh/paused-replicas" in (COMPONENTS / "keda" / "README.md").read_text()


def kedas_query() -> str:
    [trigger] = yaml.safe_load((COMPONENTS / "keda" / "worker-scaledobject.yaml").read_text())["spec"]["triggers"]
    query: str = trigger["metadata"]["query"]
    return query


def read(query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        (value,) = cursor.fetchone()
    return value


@pytest.mark.both_databases
@pytest.mark.django_db
def test_kedas_query_counts_what_is_due_and_not_taken() -> None:
    minute = timedelta(minutes=1)
    for _ in range(3):
        make_job(JobState.QUEUED, queue="default", due_at=Now() - minute)
    make_job(JobState.RETRYING, queue="default", due_at=Now() - minute)
    make_job(JobState.QUEUED, queue="bulk", due_at=Now() - minute)
    make_job(JobState.RETRYING, queue="default", due_at=Now() + minute)
    make_job(JobState.RUNNING, queue="default")
    make_job(JobState.SUCCEEDED, queue="default")
    assert read(kedas_query()) == waiting_in("default").jobs == 4
    assert read(kedas_query().replace("5000", "3")) == 3


@pytest.mark.both_databases
@pytest.mark.django_db
def test_kedas_query_reads_no_more_than_a_sample_however_many_wait_for_a_retry() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's plan")
    delivery = make_job(JobState.SUCCEEDED).delivery
    Job.objects.bulk_create(
        Job(delivery=delivery, handler=f"h{number}", queue="default", max_attempts=1, publish_at=at, due_at=at)
        for number, at in enumerate([Now() - timedelta(minutes=1)] * 5 + [Now() + timedelta(hours=1)] * 3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE webhooks_job")
    [plan] = read("EXPLAIN (ANALYZE, FORMAT JSON) " + kedas_query().replace("5000", "10"))
    scans = list(scans_of(plan["Plan"]))
    assert [scan["Index Name"] for scan in scans] == ["job_publish"]
    assert all(scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) <= 10 for scan in scans), scans


def scans_of(node: Document) -> Iterator[Document]:
    if "Scan" in node["Node Type"] and "Relation Name" in node:
        yield node
    for child in node.get("Plans", ()):
        yield from scans_of(child)


@needs_kubectl
def test_a_queue_pool_takes_its_queue_from_the_other_workers() -> None:
    assert program("worker", "queue-pool").queues == frozenset({"default"})
    assert program("worker-bulk", "queue-pool").queues == frozenset({"bulk"})
    assert program("worker").queues is None


@needs_kubectl
def test_single_flight_is_eight_processes_that_do_one_job_each() -> None:
    worker = program("worker", "single-flight")
    assert worker.autoscalers == ()
    assert worker.most_replicas == 8
    assert worker.variables["HOOKLINE_WORKER_CONCURRENCY"] == worker.variables["HOOKLINE_CHILD_MAX_JOBS"] == "1"


@needs_kubectl
def test_pgbouncer_is_a_native_sidecar_of_every_pool_and_of_nothing_else() -> None:
    rendered = parsed(combination(("queue-pool", "pgbouncer-sidecar")))
    with_sidecar = set()
    for document in rendered:
        for container in (pod_of(document) or {"spec": {}})["spec"].get("initContainers", ()):
            # Restarted always, it is there before the worker and ends after it.
            assert (container["name"], container["restartPolicy"]) == ("pgbouncer", "Always")
            with_sidecar.add(document["metadata"]["name"])
    assert with_sidecar == {"worker", "worker-bulk"}
    for name in with_sidecar:
        worker = program(name, "queue-pool", "pgbouncer-sidecar")
        assert worker.variables["DATABASE_URL_FILE"] == "/run/hookline-pgbouncer/DATABASE_URL"
        assert worker.variables["HOOKLINE_DATABASE_POOLED"] == "true"
    assert program("relay", "pgbouncer-sidecar").variables["DATABASE_URL_FILE"] == "/run/hookline/DATABASE_URL"


@needs_kubectl
def test_istio_stays_out_of_every_pod_of_ours() -> None:
    for name, rendered in renderings().items():
        for template in [pod_of(document) for document in rendered if runs_hookline(document)]:
            if template:
                label = template["metadata"]["labels"].get("sidecar.istio.io/inject")
                assert label == ("false" if "istio" in name.split(" + ") else None), name


@needs_kubectl
def test_the_outside_reaches_webhooks_alone_and_the_operators_the_console_alone() -> None:
    routed = {"receiver": {"/webhooks/"}, "console": console_paths()}
    for name, rendered in renderings().items():
        for ingress in [one for one in rendered if one["kind"] == "Ingress"]:
            [rule] = ingress["spec"]["rules"]
            paths = rule["http"]["paths"]
            assert {path["path"] for path in paths} == routed[ingress["metadata"]["name"]], name
            for path in paths:
                # As a prefix, the home page's path would be everything.
                assert path["pathType"] == ("Exact" if path["path"] == "/" else "Prefix"), name
                service = "flower" if path["path"] == "/flower" else "receiver"
                assert path["backend"] == {"service": {"name": service, "port": {"name": "http"}}}, name
            assert [one["hosts"] for one in ingress["spec"]["tls"]] == [[rule["host"]]], name
        assert not any(one["spec"].get("type") for one in rendered if one["kind"] == "Service"), name


@needs_kubectl
def test_the_console_has_a_host_a_controller_and_a_way_in_of_its_own() -> None:
    rendered = documents("ingress", "console-ingress")
    console, webhooks = (rendered["Ingress", name]["spec"] for name in ("console", "receiver"))
    assert console["rules"][0]["host"] != webhooks["rules"][0]["host"]
    assert console["ingressClassName"] != webhooks["ingressClassName"]
    [rule] = rendered["NetworkPolicy", "console"]["spec"]["ingress"]
    [inside] = rule["from"]
    [outside, _] = rendered["NetworkPolicy", "receiver"]["spec"]["ingress"][0]["from"]
    assert inside != outside
    # Without it nobody but the webhooks' controller and Prometheus gets in.
    assert documents("ingress")["NetworkPolicy", "receiver"] == rendered["NetworkPolicy", "receiver"]


def console_paths() -> set[str]:
    """Return the beginnings of all paths that the console and the admin have."""
    firsts = {str(pattern.pattern).partition("/")[0] for pattern in console_urls.urlpatterns}
    return {"/" if first == "" else f"/{first}/" for first in firsts} | {
        *("/admin/", "/static/", "/oidc/", "/flower", API)
    }


@pytest.mark.django_db
def test_the_operators_pages_need_no_path_that_the_console_does_not_route(client: Client) -> None:
    routed = tuple(console_paths() - {"/"})
    client.force_login(User.objects.create_superuser("operator"))
    for page in ("/admin/", "/admin/webhooks/job/", *(reverse(f"console:{entry.name}") for entry in MENU)):
        asked = re.findall(r'(?:href|src|action)="(/[^"]*)"', client.get(page).content.decode())
        assert {path for path in asked if not path.startswith(routed)} <= {"/"}, page
    assert not any(path.startswith(routed) for path in (*PROBES, WEBHOOKS))


@needs_kubectl
@pytest.mark.parametrize("name", ["keda", "single-flight"])
def test_what_removes_the_autoscaler_says_that_an_apply_leaves_the_old_one(name: str) -> None:
    command = "kubectl -n hookline delete hpa worker --ignore-not-found"
    assert command in (COMPONENTS / name / "README.md").read_text()
    assert command in (KUBERNETES.parent / "README.md").read_text()
    [note] = notes(Deployed.of([Manifest("rendered", one) for one in parsed(combination((name,)))], around()))
    assert note.endswith(command)


@needs_kubectl
def test_monitors_find_what_they_scrape_by_ports_that_exist() -> None:
    rendered = documents("queue-pool", "reconcile", "monitoring")
    monitor, service = rendered["ServiceMonitor", "receiver"]["spec"], rendered["Service", "receiver"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [one["port"] for one in monitor["endpoints"]] == [port["name"] for port in service["spec"]["ports"]]
    monitor = rendered["PodMonitor", "workers"]["spec"]
    [expression] = monitor["selector"]["matchExpressions"]
    scraped = set()
    for (_, name), document in rendered.items():
        template = pod_of(document)
        if template and template["metadata"]["labels"]["app.kubernetes.io/component"] in expression["values"]:
            assert [port["name"] for port in template["spec"]["containers"][0]["ports"]] == ["metrics"]
            scraped.add(name)
    assert scraped == {"worker", "worker-bulk", "relay", "reconcile"}
    assert [one["port"] for one in monitor["podMetricsEndpoints"]] == ["metrics"]


@needs_kubectl
def test_a_reconciler_reaches_github_names_and_the_database_and_nothing_else() -> None:
    rules = documents("reconcile")["NetworkPolicy", "reconcile"]["spec"]
    assert rules["policyTypes"] == ["Ingress", "Egress"]
    [out] = rules["egress"]
    assert {(port["protocol"], port["port"]) for port in out["ports"]} == {
        ("UDP", 53),
        *(("TCP", port) for port in (53, 443, 5432)),
    }
    assert "to" not in out  # GitHub's addresses change.


@needs_kubectl
def test_a_reconciler_has_the_apps_key_alone_and_time_to_end_its_call() -> None:
    reconciler = program("reconcile", "reconcile")
    assert reconciler.grace_seconds >= RECONCILER_STOP_SECONDS + 5
    assert reconciler.most_replicas == 1
    for name, rendered in renderings().items():
        for one in workloads(Manifest("rendered", document) for document in rendered):
            named = {volume.get("secret", {}).get("secretName") for volume in one.pod["volumes"]}
            has_it = {"reconcile", "worker"} if "github-api" in name else {"reconcile"}
            assert ("hookline-github" in named) is (one.role in has_it), f"{name}: {one}"


@needs_kubectl
def test_workers_that_call_the_api_have_the_apps_key_and_memory_for_it_and_no_token_of_a_hook() -> None:
    for name, children in (("worker", 70), ("worker-bulk", 8)):
        plain, calling = program(name, "queue-pool"), program(name, "queue-pool", "github-api")
        given = {one.removesuffix("_FILE") for one in calling.variables} - set(plain.variables)
        assert {"GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY"} == {one for one in given if "GITHUB" in one}
        [volume] = [one["secret"] for one in calling.pod["volumes"] if one["name"] == "github"]
        assert [one["key"] for one in volume["items"]] == ["GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY"]
        for kind in ("requests", "limits"):
            before, after = plain.memory_mb(kind), calling.memory_mb(kind)
            assert before is not None
            assert after is not None
            assert after - before >= API_PARENT_MB + API_CHILD_MB * children - 64
    assert program("worker", "github-api", "single-flight").memory_mb("limits") == 1216


@needs_kubectl
def test_who_handles_payloads_has_their_keys_and_nobody_else() -> None:
    rendered = parsed(combination(("queue-pool", "reconcile", "payload-encryption")))
    found = {}
    for one in workloads(Manifest("rendered", document) for document in rendered):
        secrets = [volume["secret"] for volume in one.pod["volumes"] if volume["name"] == "secrets"]
        mounted = {
            item["key"] for secret in secrets for item in secret.get("items", [{"key": "HOOKLINE_PAYLOAD_KEYS"}])
        }
        found[one.manifest.name] = "HOOKLINE_PAYLOAD_KEYS" in mounted
        assert not found[one.manifest.name] or "HOOKLINE_PAYLOAD_KEYS_FILE" in one.variables
    having = {"receiver", "relay", "worker", "worker-bulk", "reconcile"}
    assert {name for name, has in found.items() if has} == having
    assert {name for name, has in found.items() if not has} >= {"flower"}


@needs_kubectl
def test_what_the_readme_says_for_hooks_without_an_app_takes_the_apps_place(tmp_path: Path) -> None:
    told = (COMPONENTS / "reconcile" / "README.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", told, re.DOTALL)
    patches = [patch for block in blocks for patch in yaml.safe_load(block)["patches"]]
    paths = {name: os.path.relpath(KUBERNETES / name, tmp_path) for name in ("base", "components/reconcile")}
    body = {"resources": [paths["base"]], "components": [paths["components/reconcile"]], "patches": patches}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(body))
    rendered = [Manifest("rendered", one) for one in parsed(kustomize(tmp_path))]
    [reconciler] = [one for one in workloads(rendered) if one.role == "reconcile"]
    own = {name for name in reconciler.variables if name.startswith("GITHUB_")}
    assert own == {"GITHUB_HOOKS", "GITHUB_API_TOKEN_FILE"}
    [policy] = [one for one in rendered if (one.kind, one.name) == ("NetworkPolicy", "reconcile")]
    assert {port["port"] for port in policy.spec["egress"][0]["ports"]} == {53, 443, 5432, 6432}


# --- Queries ----------------------------------------------------------------------------------------------------------


def test_what_every_relay_tells_of_the_whole_fleet_is_never_summed() -> None:
    of_the_fleet = [query for query in queries() if OF_THE_FLEET.search(query)]
    assert len(of_the_fleet) >= 6
    for query in of_the_fleet:
        asked = re.findall(rf"(\w+)(?: by \([\w, ]+\))? ?\({OF_THE_FLEET.pattern}", query)
        assert len(asked) == len(OF_THE_FLEET.findall(query)), query
        assert set(asked) <= {"max", "absent"}, query


def test_every_outcome_in_a_query_is_one_that_runs_have() -> None:
    named = {
        outcome
        for query in queries()
        for listed in re.findall(r'outcome=~?"([^"]+)"', query)
        for outcome in listed.split("|")
    }
    assert named
    assert named <= set(AttemptOutcome.values)


def test_every_alert_leads_to_its_entry_in_the_runbook_and_every_entry_has_an_alert() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE) == names
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
