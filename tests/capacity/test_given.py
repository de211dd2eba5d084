"""A deployment's numbers, as they are read from its manifests."""

from typing import Any

import pytest

from tests.support.deployments import Change, both, container, pod, sound, with_arguments, with_own, with_spec
from tests.support.kubernetes import combination, needs_kubectl
from workers.capacity.autoscaler import Age, Cpu, Depth
from workers.capacity.behavior import NOT_GIVEN, UP, Behavior, Kind, Policy, Rules, Select
from workers.capacity.given import BASE, Given, given
from workers.capacity.jobs import PlanError
from workers.capacity.metrics import GAUGES_SECONDS, MOST_COUNTED
from workers.capacity.policies import named
from workers.deployment.manifests import Manifest, UnreadableManifestError, read_manifests


def read(text: str, pool: str | None = None) -> Given:
    return given(read_manifests(text, file="rendered.yaml"), pool=pool)


def changed(*changes: Change) -> Given:
    manifests = sound()
    container(manifests, "worker")["resources"]["requests"]["cpu"] = "500m"
    both(*changes)(manifests)
    return given([Manifest("rendered.yaml", body) for body in manifests.values()], pool=None)


def scaled_by(*metrics: dict[str, Any], **spec: Any) -> Change:
    return with_spec("scaler", metrics=list(metrics), **spec)


def external(name: str, **target: str) -> dict[str, Any]:
    return {"type": "External", "external": {"metric": {"name": name}, "target": target}}


@needs_kubectl
def test_the_numbers_of_the_base_are_those_of_its_manifests() -> None:
    found = read(combination(()))
    assert (found.scaling.metrics, found.scaling.behavior) == (BASE.scaling.metrics, BASE.scaling.behavior)
    assert (found.scaling.least, found.scaling.most) == (BASE.scaling.least, BASE.scaling.most)
    assert (found.kind, found.grace_seconds, found.queues) == (BASE.kind, BASE.grace_seconds, BASE.queues)
    assert found.notes == ()


@needs_kubectl
def test_the_component_that_scales_by_the_backlog_is_read() -> None:
    found = read(combination(("backlog-autoscaling",)))
    assert set(found.scaling.metrics) == {Cpu(30, 0.25), Age(30.0), Depth(350.0, MOST_COUNTED)}
    assert not found.scaling.asks_directly


@needs_kubectl
def test_the_component_keda_is_read_with_the_limit_of_its_query() -> None:
    found = read(combination(("keda",)))
    assert found.scaling.metrics == (Depth(350.0, 5000),)
    assert found.scaling.behavior == BASE.scaling.behavior
    assert (found.scaling.least, found.scaling.most, found.scaling.asks_directly) == (1, 5, True)


@needs_kubectl
def test_of_several_pools_one_is_named() -> None:
    text = combination(("queue-pool",))
    with pytest.raises(PlanError, match=r"Name one pool of workers with --pool; there are: worker.*worker-bulk"):
        read(text)
    assert read(text, "worker").queues == frozenset({"default"})
    assert read(text, "worker-bulk").queues == frozenset({"bulk"})


def test_what_the_gauges_count_and_how_often_is_what_the_relay_does() -> None:
    from webhooks.inbox.due import SAMPLE
    from webhooks.publishing.gauges import READ_SECONDS

    assert (GAUGES_SECONDS, MOST_COUNTED) == (READ_SECONDS, SAMPLE)


def test_numbers_of_the_manifests_count() -> None:
    found = changed(
        with_arguments("--queues", "io,default", "--concurrency", "12"),
        with_own("worker", "HOOKLINE_GRACE_SECONDS", "30"),
        lambda manifests: container(manifests, "worker")["resources"]["limits"].update(cpu="1500m"),
        with_spec("scaler", minReplicas=2, maxReplicas=9),
    )
    assert (found.kind.concurrency, found.kind.request_cores, found.kind.limit_cores) == (12, 0.5, 1.5)
    assert (found.grace_seconds, found.kind.patience_seconds) == (30.0, 25.0)
    assert (found.kind.startup_period_seconds, found.kind.readiness_period_seconds) == (10.0, 5.0)
    assert (found.scaling.least, found.scaling.most, found.queues) == (2, 9, frozenset({"io", "default"}))


def test_an_autoscaler_without_metrics_has_kubernetes_own() -> None:
    found = changed()
    assert found.scaling.metrics == (Cpu(80, 0.5),)
    assert found.scaling.behavior is NOT_GIVEN


def test_a_behavior_is_completed_by_kubernetes_defaults() -> None:
    down = {"selectPolicy": "Disabled", "tolerance": "50m"}
    up = {"stabilizationWindowSeconds": 60, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 20}]}
    found = changed(with_spec("scaler", behavior={"scaleUp": up, "scaleDown": down})).scaling.behavior
    assert found.up == Rules(60.0, (Policy(Kind.PERCENT, 50, 20.0),))
    assert found.down == Rules(300.0, Behavior().down.policies, Select.DISABLED, 0.05)
    assert changed(with_spec("scaler", behavior={"scaleDown": down})).scaling.behavior.up == UP


def test_what_is_not_simulated_is_noted() -> None:
    memory = {"type": "Resource", "resource": {"name": "memory", "target": {"averageUtilization": 80}}}
    found = changed(
        scaled_by(
            memory, external("queue_depth", value="5"), external("hookline_queue_waiting_jobs", averageValue="2k")
        )
    )
    assert found.scaling.metrics == (Depth(2000.0, MOST_COUNTED),)
    assert found.notes == (
        "The autoscaler's metric memory is not simulated and is left out.",
        "The autoscaler's metric queue_depth is not simulated and is left out.",
    )


def test_a_scaled_object_that_goes_to_zero_and_has_other_triggers_is_noted() -> None:
    triggers = [
        {"type": "cron", "metadata": {}},
        {"type": "cpu", "metadata": {"value": "70"}},
        {"type": "prometheus", "metadata": {"query": "max(hookline_queue_waiting_jobs)", "threshold": "100"}},
    ]
    found = changed(
        lambda manifests: manifests["scaler"].update(kind="ScaledObject"), with_spec("scaler", triggers=triggers)
    )
    assert found.scaling.metrics == (Cpu(70, 0.5), Depth(100.0, MOST_COUNTED))
    assert (found.scaling.least, found.scaling.most) == (1, 100)
    assert [note.split()[0] for note in found.notes] == ["The", "minReplicaCount"]


def test_without_an_autoscaler_the_fleet_is_of_the_deployments_size() -> None:
    found = changed(lambda manifests: manifests.pop("scaler"), with_spec("worker", replicas=4))
    assert (found.scaling.is_fixed, found.scaling.least, found.scaling.most) == (True, 4, 4)


def beside(manifests: dict[str, Any], **container_of: Any) -> None:
    pod(manifests, "worker")["containers"].append({"name": "pgbouncer", "args": ["pgbouncer"], **container_of})


def test_a_request_is_the_sum_over_the_pods_containers() -> None:
    found = changed(lambda manifests: beside(manifests, resources={"requests": {"cpu": "50m"}}))
    assert found.scaling.metrics == (Cpu(80, 0.55),)
    alone = {"name": "cpu", "container": "worker", "target": {"averageUtilization": 60}}
    one = changed(
        lambda manifests: beside(manifests, resources={"requests": {"cpu": "50m"}}),
        scaled_by({"type": "ContainerResource", "containerResource": alone}),
    )
    assert one.scaling.metrics == (Cpu(60, 0.5),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (beside, "a container requests no CPU, so the autoscaler cannot scale by a share"),
        (scaled_by(external("queue_depth", value="5")), "none of its metrics can be simulated"),
        (with_spec("scaler", minReplicas=0), "has 0 replicas at least and 5 at most; 1 or more are simulated"),
        (with_spec("scaler", minReplicas=6), "has 6 replicas at least and 5 at most"),
        (with_arguments("--concurrency", "0"), "it runs 0 handlers at a time; give 1 or more"),
        (
            both(lambda manifests: manifests.pop("scaler"), with_spec("worker", replicas=0)),
            "it has no replicas; 1 or more are simulated",
        ),
        (lambda manifests: manifests.pop("worker"), "None of these manifests runs a worker; are they rendered"),
    ],
)
def test_what_cannot_be_planned_with_is_said_in_a_sentence(change: Change, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        changed(change)


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_target_that_kubernetes_refuses_is_no_metric(value: str) -> None:
    with pytest.raises((ValueError, UnreadableManifestError)):
        changed(scaled_by(external("hookline_queue_waiting_jobs", averageValue=value)))
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": value}}}
    with pytest.raises(ValueError):  # noqa: PT011  The command makes a sentence of any.
        changed(scaled_by(cpu))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cpu",
        "cpu:",
        "cpu:x",
        "cpu:nan",
        "cpu:inf",
        "cpu:0",
        "age:-1",
        "memory:60",
        "fixed:1.5",
        "fixed:2+cpu:60",
        "+",
    ],
)
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="--policy"):
        named(text, like=BASE.scaling, request_cores=0.25)


def test_a_policy_has_the_bounds_and_the_behavior_of_the_deployment() -> None:
    found = named("cpu:70+depth:100+age:9.5", like=BASE.scaling, request_cores=0.25)
    assert found.metrics == (Cpu(70, 0.25), Depth(100, MOST_COUNTED), Age(9.5))
    assert (found.behavior, found.least, found.most) == (BASE.scaling.behavior, 1, 5)
