"""The rules of workers/deployment: each mismatch is named in one sentence, and what fits is not.

Each case changes the smallest manifests that fit in one way.
"""

import copy
import json
from typing import Any

import pytest

from tests.support.deployments import (
    Change,
    Manifests,
    around,
    both,
    config,
    container,
    found,
    pod,
    scaler,
    sound,
    subscription,
    with_arguments,
    with_grace,
    with_hook,
    with_memory,
    with_own,
    with_probe,
    with_secret,
    with_spec,
)
from tests.support.kubernetes import needs_kubectl, renderings
from tests.support.processes import manage
from workers.deployment import mismatches, notes
from workers.deployment.deployed import DEFAULTS, Deployed
from workers.deployment.manifests import Manifest, UnreadableManifestError, quantity

pytestmark = pytest.mark.timeout(900)  # The first test that needs them renders all combinations.


KEY_IN_A_SECRET = both(
    with_own("receiver", "SECRET_KEY_FILE", "/run/hookline/SECRET_KEY"), with_secret("receiver", "all")
)


def test_manifests_that_fit_have_no_mismatch() -> None:
    assert found() == []


WORKER, RECEIVER = "rendered.yaml: Deployment worker: ", "rendered.yaml: Deployment receiver: "


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (config("HOOKLINE_GRACE_SECONDS", "ninety"), "HOOKLINE_GRACE_SECONDS is 'ninety', which is no number"),
        (config("HOOKLINE_GRACE_SECONDS", "inf"), "HOOKLINE_GRACE_SECONDS is 'inf', which is no number"),
        (with_own("worker", "HOOKLINE_GARCE_SECONDS", "9"), "no setting of Hookline is named HOOKLINE_GARCE_SECONDS"),
        (with_own("worker", "HOOKLINE_TIME_LIMIT", "50"), "HOOKLINE_TIME_LIMIT is not the same in all of receiver"),
        (config("HOOKLINE_APPS", "acme_bot.apps.AcmeConfig"), "HOOKLINE_APPS names acme_bot.apps.AcmeConfig, which"),
        (with_arguments("--queues", "default,bulk"), WORKER + "no handler uses the queue 'bulk'"),
        (with_hook("worker", {"exec": {"command": ["/drain"]}}), "how long its preStop hook takes is unknown"),
        (with_grace("worker", 94), WORKER + "SIGKILL comes 94 s after the stop began"),
        (with_hook("worker", {"sleep": {"seconds": 6}}), "to 101 or more (its preStop hook takes 6 of them)"),
        (with_hook("worker", {"exec": {"command": ["sh", "-c", "sleep 20"]}}), "to 115 or more"),
        (lambda manifests: pod(manifests, "worker").pop("terminationGracePeriodSeconds"), "SIGKILL comes 30 s after"),
        (config("HOOKLINE_TIME_LIMIT", "86"), "greet may run for 86 s, and a worker that stops interrupts it after"),
        (config("HOOKLINE_WORKER_MAX_SECONDS", "600"), "with HOOKLINE_WORKER_MAX_SECONDS=600 Kubernetes takes"),
        (with_grace("receiver", 34), RECEIVER + "SIGKILL comes 34 s after the stop began"),
        (config("HOOKLINE_DRAIN_SECONDS", "9"), RECEIVER + "it stops listening 9 s after the stop began, while its"),
        (with_probe("receiver", "readinessProbe", failureThreshold=3), "set HOOKLINE_DRAIN_SECONDS to 20 or more"),
        (lambda manifests: container(manifests, "relay").pop("livenessProbe"), "its livenessProbe is missing"),
        (with_probe("worker", "readinessProbe", httpGet={"path": "/ready", "port": 8001}), "asks /ready; ask /readyz"),
        (with_probe("worker", "livenessProbe", httpGet=None, exec={"command": ["x"]}), "asks nothing by HTTP; ask /li"),
        (config("SECRET_KEY", ""), WORKER + "it is given SECRET_KEY, which a worker does not use"),
        (with_own("relay", "GITHUB_WEBHOOK_SECRETS_GHES", ""), "given GITHUB_WEBHOOK_SECRETS_GHES, which a relay"),
        (with_own("flower", "DATABASE_URL", ""), "it is given DATABASE_URL, which a flower does not use"),
        (both(KEY_IN_A_SECRET, with_secret("worker", "all")), WORKER + "it is given SECRET_KEY, which a worker"),
        (
            both(KEY_IN_A_SECRET, with_secret("worker", "all", "SECRET_KEY", at="/etc/elsewhere")),
            WORKER + "it is given SECRET_KEY, which a worker",
        ),
        (
            both(KEY_IN_A_SECRET, lambda m: container(m, "relay")["envFrom"].append({"secretRef": {"name": "all"}})),
            "Deployment relay: it is given SECRET_KEY",
        ),
        (config("FLOWER_URL_PREFIX", "/flower/"), "asks /healthcheck; ask /flower/healthcheck,"),
        (config("HOOKLINE_PROBE_PORT", "9000"), WORKER + "its startupProbe asks port 8001, and the program answers"),
        (with_probe("worker", "livenessProbe", timeoutSeconds=11), "waits 11 s for an answer and is sent every 10 s"),
        (with_probe("worker", "livenessProbe", failureThreshold=1), "restarts it after 10 s without an answer"),
        (with_probe("worker", "livenessProbe", failureThreshold=7), "no more than HOOKLINE_STALLED_SECONDS (60)"),
        (with_probe("worker", "startupProbe", failureThreshold=5), "its startupProbe gives it 50 s to start"),
        (config("HOOKLINE_WORKER_CONCURRENCY", "12"), "open 126 connections to the database (84 of them worker)"),
        (with_arguments("--concurrency=12"), "open 126 connections to the database (84 of them worker)"),
        (with_memory("limits", "1Gi"), WORKER + "its memory limit is 1,024 Mi, and 4 children of which one takes"),
        (with_memory("requests", "64Mi"), WORKER + "it requests 64 Mi of memory, and 4 children take about"),
        (with_spec("worker", replicas=3), "it sets replicas, which each apply would put back, and HorizontalPodAuto"),
        (lambda manifests: manifests.update(second=scaler("ScaledObject")), "both say how many there are; keep one"),
        (lambda manifests: manifests.update(second=scaler(target="wroker")), "it scales wroker, which is not in these"),
        (with_spec("flower", replicas=2), "more than one Flower may run"),
        (with_spec("flower", strategy={}), "more than one Flower may run"),
        (with_spec("receiver", strategy={"type": "Recreate"}), "a rollout may leave no receiver at all"),
        (lambda manifests: pod(manifests, "relay").pop("enableServiceLinks"), "set enableServiceLinks to false"),
    ],
)  # fmt: skip
def test_a_mismatch_is_named_in_a_sentence(change: Change, sentence: str) -> None:
    sentences = found(change)
    assert any(sentence in one for one in sentences), sentences


@pytest.mark.parametrize(
    "change",
    [
        with_grace("worker", 95),
        with_grace("receiver", 35),
        both(config("HOOKLINE_TIME_LIMIT", "86"), config("HOOKLINE_GRACE_SECONDS", "91"), with_grace("worker", 96)),
        both(with_hook("worker", {"sleep": {"seconds": 5}}), with_grace("worker", 100)),
        both(config("HOOKLINE_DRAIN_SECONDS", "5"), with_hook("receiver", {"exec": {"command": ["sleep", "5"]}})),
        config("HOOKLINE_WORKER_MAX_SECONDS", "0"),
        config("HOOKLINE_APPS", "quiet_bot"),
        config("HOOKLINE_APPS", "quiet_bot\nquiet_bot"),
        config("HOOKLINE_BROKER_CA_FILE", "/etc/ssl/certs/ca-certificates.crt"),
        config("HOOKLINE_DRAIN_SECONDS", "10"),
        with_arguments("--queues", "default"),
        with_spec("receiver", strategy={}),
        both(with_own("worker", "HOOKLINE_CHILD_MAX_MB", "400"), with_memory("limits", "600M")),
        both(with_spec("worker", replicas=3), lambda manifests: manifests.pop("scaler")),
    ],
)  # fmt: skip
def test_what_just_fits_is_no_mismatch(change: Change) -> None:
    assert found(change) == []


AUTHORITY = with_own("relay", "HOOKLINE_BROKER_CA_FILE", "/run/authority/ca.pem")


def with_volume(at: str, *, sub_path: str = "", **volume: Any) -> Change:
    """Return a change by which the relay is told of an authority, and mounts a volume."""

    def change(manifests: Manifests) -> None:
        AUTHORITY(manifests)
        pod(manifests, "relay")["volumes"] = [{"name": "authority", **volume}]
        mount = {"name": "authority", "mountPath": at, **({"subPath": sub_path} if sub_path else {})}
        container(manifests, "relay")["volumeMounts"] = [mount]

    return change


def with_authority(**data: str) -> Change:
    """Return a change by which the relay mounts a ConfigMap that these files hold, with these keys."""

    def change(manifests: Manifests) -> None:
        with_volume("/run/authority", configMap={"name": "authority"})(manifests)
        manifests["authority"] = {"kind": "ConfigMap", "metadata": {"name": "authority"}, "data": data}

    return change


RENAMED = {"name": "authority", "items": [{"key": "tls.crt", "path": "ca.pem"}]}


@pytest.mark.parametrize(
    "change",
    [
        AUTHORITY,
        with_volume("/run/other", configMap={"name": "authority"}),
        with_volume("/run/authority", configMap={"name": "authority", "items": [{"key": "ca.pem", "path": "ca.crt"}]}),
        with_volume("/run/authority/ca.pem", sub_path="ca.crt", configMap=RENAMED),
        with_authority(**{"ca.crt": "…"}),
        config("BROKER_URL_FILE", "/run/hookline/BROKER_URL"),
        config("HOOKLINE_BROKER_CA_FILE", "/run/authority/ca.pem"),
    ],
)
def test_a_file_that_a_program_reads_and_no_volume_has_is_named(change: Change) -> None:
    sentences = found(change)
    assert any("_FILE is /run/" in one and "Deployment relay: " in one for one in sentences), sentences


@pytest.mark.parametrize(
    "change",
    [
        with_volume("/run/authority", configMap={"name": "authority"}),
        with_volume("/run", sub_path="of/broker", persistentVolumeClaim={"claimName": "authorities"}),
        with_volume("/run/authority", secret={"secretName": "authority"}),
        with_volume("/run/authority", configMap=RENAMED),
        with_volume("/run/authority/ca.pem", sub_path="ca.pem", configMap=RENAMED),
        with_volume("/run/authority", projected={"sources": [{"configMap": RENAMED}, {"secret": {"name": "other"}}]}),
        with_authority(**{"ca.pem": "…"}),
        # Named for all in the ConfigMap, and used by those that mount it.
        both(config("SECRET_KEY_FILE", "/run/hookline/SECRET_KEY"), with_secret("receiver", "all")),
        both(config("GITHUB_WEBHOOK_SECRETS_GHES_FILE", "/run/hookline/GHES"), with_secret("receiver", "all")),
    ],
)
def test_a_file_that_a_volume_has_or_that_a_role_does_not_read_is_not(change: Change) -> None:
    assert not [one for one in found(change) if "no volume of its container" in one]


def test_a_handlers_own_limit_is_held_against_the_grace_of_the_pool_that_runs_it() -> None:
    slow = subscription("report", time_limit=600, queue="bulk")
    [sentence] = found(None, subscription(), slow)
    assert "report may run for 600 s" in sentence
    assert "HOOKLINE_GRACE_SECONDS to 605 or more" in sentence

    def split(manifests: Manifests) -> None:
        manifests["bulk"] = copy.deepcopy(manifests["worker"])
        manifests["bulk"]["metadata"]["name"] = "bulk"
        manifests["bulk"]["spec"]["replicas"] = 1
        with_arguments("--queues=default")(manifests)
        container(manifests, "bulk")["args"] = ["worker", "--queues", "bulk"]
        container(manifests, "bulk")["env"] = [{"name": "HOOKLINE_GRACE_SECONDS", "value": "605"}]
        pod(manifests, "bulk")["terminationGracePeriodSeconds"] = 610

    assert found(split, subscription(), slow) == []


def test_a_queue_that_no_pool_consumes_is_named() -> None:
    [sentence] = found(with_arguments("--queues", "default"), subscription(), subscription("report", queue="bulk"))
    assert sentence.startswith("No worker consumes the queue 'bulk'")


def test_rabbitmqs_consumer_timeout_is_held_against_the_longest_limit() -> None:
    grace = both(config("HOOKLINE_GRACE_SECONDS", "4000"), with_grace("worker", 4010))
    slow = subscription("report", time_limit=1790)
    [sentence] = found(grace, slow)
    assert "report to end, 1790 s, before it is acknowledged, and RabbitMQ ends consumers after 1800 s" in sentence
    assert found(both(grace, with_own("worker", "BROKER_URL", "redis://redis/0")), slow) == []


def test_two_pools_with_different_limits_must_not_take_back_each_others_messages_on_redis() -> None:
    def split(manifests: Manifests) -> None:
        config("BROKER_URL", "redis://redis/0")(manifests)
        manifests["slow"] = copy.deepcopy(manifests["worker"])
        manifests["slow"]["metadata"]["name"] = "slow"
        manifests["slow"]["spec"]["replicas"] = 1
        container(manifests, "slow")["env"] = [
            {"name": "HOOKLINE_TIME_LIMIT", "value": "600"},
            {"name": "HOOKLINE_GRACE_SECONDS", "value": "605"},
        ]
        pod(manifests, "slow")["terminationGracePeriodSeconds"] = 610

    sentences = found(split)
    assert any("on Redis it takes back what another worker has held for 180 s" in one for one in sentences), sentences


def test_connections_are_counted_against_what_the_database_has() -> None:
    wide = config("HOOKLINE_WORKER_CONCURRENCY", "12")
    assert found(wide, max_connections=129) == []
    assert found(wide, max_connections=128) != []

    def annotated(manifests: Manifests) -> None:
        wide(manifests)
        manifests["config"]["metadata"]["annotations"] = {"hookline/database-max-connections": "129"}

    assert found(annotated) == []
    # What the command line says is newer.
    assert found(annotated, max_connections=128) != []

    def pooled(manifests: Manifests) -> None:
        wide(manifests)
        manifests["worker"]["spec"]["template"]["metadata"] = {"annotations": {"hookline/database-connections": "9"}}

    # 6 workers of 9, 3 receivers of 12, 3 relays of 2: 96 of the 97 that are not reserved.
    assert found(pooled, max_connections=99) == []
    assert found(pooled, max_connections=98) != []


def test_the_defaults_are_those_of_production() -> None:
    program = "from django.conf import settings; import json; print(json.dumps({n: getattr(settings, n) for n in %r}))"
    ended = manage(
        "shell", "--no-imports", "--command", program % (sorted(DEFAULTS),),
        HOOKLINE_ENVIRONMENT="production", SECRET_KEY="k" * 50, ALLOWED_HOSTS="localhost",
        DATABASE_URL="postgres://localhost/hookline", GITHUB_WEBHOOK_SECRETS="s" * 16,
    )  # fmt: skip
    assert json.loads(ended.stdout) == DEFAULTS, ended.stderr


@needs_kubectl
def test_every_combination_of_components_passes_the_check() -> None:
    surroundings = around(subscription(), subscription("report", queue="bulk"), max_connections=600)
    for name, documents in renderings().items():
        manifests = [Manifest("rendered.yaml", document) for document in documents]
        assert list(mismatches(Deployed.of(manifests, surroundings))) == [], name


def test_quantities_are_those_of_kubernetes() -> None:
    assert [quantity(text) for text in ("640Mi", "1G", "500m", "2")] == [640 * 2**20, 1e9, 0.5, 2]
    with pytest.raises(UnreadableManifestError):
        quantity("1 GB")


# --- The migration, and what an apply leaves behind -------------------------------------------------------------------


def migration(name: str, **variables: str) -> Change:
    """Return a change that adds a Job which migrates."""
    env = [{"name": variable, "value": value} for variable, value in variables.items()]
    once = {"enableServiceLinks": False, "containers": [{"name": "migrate", "args": ["migrate"], "env": env}]}
    job = {"kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": once}}}
    return lambda manifests: manifests.update(migrate=job)


@pytest.mark.parametrize("name", ["migrate-b8m8kkmtmh", "migrate-0-1-0", "acme-migrate-b8m8kkmtmh"])
def test_a_migration_whose_name_changes_with_it_is_no_mismatch(name: str) -> None:
    assert found(migration(name)) == []


@pytest.mark.parametrize("name", ["migrate", "acme-migrate"])
def test_a_migration_that_would_have_the_same_name_for_the_next_image_is_named(name: str) -> None:
    [mismatch] = found(migration(name))
    assert mismatch.startswith(f"rendered.yaml: Job {name}: a Job cannot be changed once it is there")


def test_a_migration_must_know_the_apps_that_the_workers_know() -> None:
    [sentence] = found(both(config("HOOKLINE_APPS", "quiet_bot"), migration("migrate-1")))
    assert "its HOOKLINE_APPS lacks quiet_bot, which the workers have" in sentence
    assert found(both(config("HOOKLINE_APPS", "quiet_bot"), migration("migrate-1", HOOKLINE_APPS="quiet_bot"))) == []


def remarks(change: Change) -> list[str]:
    manifests = sound()
    change(manifests)
    return list(notes(Deployed.of((Manifest("rendered.yaml", one) for one in manifests.values()), around())))


def test_an_autoscaler_that_an_apply_would_leave_in_the_cluster_is_a_note() -> None:
    def by_keda(manifests: Manifests) -> None:
        manifests.update(scaler=scaler("ScaledObject"))
        manifests["worker"]["metadata"]["namespace"] = "acme"

    def fixed(manifests: Manifests) -> None:
        manifests.pop("scaler")
        manifests["worker"]["spec"]["replicas"] = 8

    assert remarks(lambda _: None) == []
    [note] = remarks(by_keda)
    assert note.endswith("kubectl -n acme delete hpa worker --ignore-not-found")
    assert len(remarks(fixed)) == 1
    assert found(by_keda) == found(fixed) == []


# --- What a pool's pods run, and how many they are --------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        {"command": ["python", "manage.py", "worker", "--queues", "bulk"], "args": None},
        {"command": ["python", "/opt/hookline/manage.py"], "args": ["worker", "--queues", "bulk"]},
    ],
)
def test_a_pool_whose_command_is_its_own_is_checked_like_any_other(words: dict[str, list[str]]) -> None:
    sentences = found(lambda manifests: container(manifests, "worker").update(words))
    assert any(one.startswith(WORKER + "no handler uses the queue 'bulk'") for one in sentences), sentences


def of_one_image(manifests: Manifests) -> None:
    for role in ("receiver", "relay", "worker", "flower"):
        container(manifests, role)["image"] = "hookline:1"


def test_a_container_with_hooklines_image_that_runs_no_known_role_is_named() -> None:
    def hide(manifests: Manifests) -> None:
        of_one_image(manifests)
        container(manifests, "relay").update(command=["sh", "-c", "python manage.py relay"], args=None)

    assert found(of_one_image) == []
    [sentence] = found(hide)
    assert sentence.startswith("rendered.yaml: Deployment relay: its container relay has Hookline's image, and nothing")


def reconciling(manifests: Manifests) -> None:
    """Turn the relay into a reconciler, which is given the App's key."""
    container(manifests, "relay").update(args=["reconcile", "--watch"])
    with_own("relay", "GITHUB_APP_PRIVATE_KEY", "")(manifests)


def test_a_reconciler_is_a_role_of_its_own_with_its_probes_and_its_secrets() -> None:
    assert found(reconciling) == []
    both_know = both(reconciling, with_own("worker", "GITHUB_API_TOKEN", ""))
    [sentence] = found(both_know)
    assert sentence.startswith(WORKER + "it is given GITHUB_API_TOKEN, which a worker does not use")
    [sentence] = found(both(reconciling, lambda manifests: container(manifests, "relay").pop("livenessProbe")))
    assert "its livenessProbe is missing" in sentence


def test_a_reconciler_reads_again_and_again_and_has_time_to_end_its_call() -> None:
    [sentence] = found(both(reconciling, with_grace("relay", 24)))
    assert sentence.endswith("set terminationGracePeriodSeconds to 25 or more.")
    assert found(both(reconciling, with_grace("relay", 25))) == []
    [sentence] = found(both(reconciling, lambda manifests: container(manifests, "relay").update(args=["reconcile"])))
    assert "it reads GitHub's log once and exits" in sentence


def test_a_worker_may_be_given_the_app_s_key_for_its_handlers() -> None:
    assert found(with_own("worker", "GITHUB_APP_PRIVATE_KEY", "")) == []


def test_a_job_may_run_any_command_and_others_any_image_of_theirs() -> None:
    def with_others(manifests: Manifests) -> None:
        of_one_image(manifests)
        once = {"containers": [{"name": "once", "image": "hookline:1", "args": ["inbox", "list"]}]}
        manifests["job"] = {"kind": "Job", "metadata": {"name": "once"}, "spec": {"template": {"spec": once}}}
        pod(manifests, "worker")["containers"].append({"name": "proxy", "image": "pgbouncer:1", "args": ["-v"]})

    assert found(with_others) == []


def test_a_daemon_sets_pods_are_counted_as_it_says_and_it_must_say_so() -> None:
    def everywhere(manifests: Manifests) -> None:
        manifests["relay"]["kind"] = "DaemonSet"

    def on_thirty(manifests: Manifests) -> None:
        everywhere(manifests)
        manifests["relay"]["metadata"]["annotations"] = {"hookline/most-pods": "30"}

    [sentence] = found(everywhere)
    assert sentence.startswith("rendered.yaml: DaemonSet relay: the cluster's nodes decide how many pods it has")
    # 6 workers of 6, 3 receivers of 12, 30 relays of 2, and 3 that the database keeps for itself.
    assert found(on_thirty, max_connections=135) == []
    assert found(on_thirty, max_connections=134) != []
