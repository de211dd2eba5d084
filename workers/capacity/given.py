"""A deployment's numbers: its autoscaler, its pods and its grace, from rendered manifests, or those of the base."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.capacity.autoscaler import Age, Cpu, Depth, Metric
from workers.capacity.behavior import DOWN, NOT_GIVEN, UP, Behavior, Kind, Policy, Rules, Select
from workers.capacity.jobs import PlanError
from workers.capacity.metrics import MOST_COUNTED
from workers.capacity.pods import PodKind
from workers.capacity.policies import Scaling, fixed
from workers.deployment.capacity import concurrency
from workers.deployment.deployed import value
from workers.deployment.manifests import Manifest, Workload, containers, quantity, workloads
from workers.stopping.times import margin_seconds

AGE_METRIC, DEPTH_METRIC = "hookline_queue_oldest_waiting_seconds", "hookline_queue_waiting_jobs"
_LIMIT = re.compile(r"\bLIMIT\s+(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a plan starts from."""

    source: str
    scaling: Scaling
    kind: PodKind
    grace_seconds: float
    queues: frozenset[str] | None = None
    """Whose jobs these workers run; None for all."""
    notes: tuple[str, ...] = ()
    """What of the manifests is not simulated."""


BASE_REQUEST, BASE_GRACE_SECONDS = 0.25, 90.0
BASE = Given(
    source="deploy/kubernetes/base",
    scaling=Scaling(
        "base",
        (Cpu(30, BASE_REQUEST),),
        Behavior(
            Rules(UP.stabilization_seconds, (Policy(Kind.PODS, 2, 30.0),)),
            Rules(DOWN.stabilization_seconds, (Policy(Kind.PODS, 1, 60.0),)),
        ),
        1,
        5,
    ),
    kind=PodKind(
        concurrency=70,
        request_cores=BASE_REQUEST,
        patience_seconds=BASE_GRACE_SECONDS - margin_seconds(BASE_GRACE_SECONDS),
    ),
    grace_seconds=BASE_GRACE_SECONDS,
)
"""The base's numbers; a test compares them with its manifests."""


def given(manifests: Sequence[Manifest], *, pool: str | None) -> Given:
    """Return the numbers of a pool of workers. Raises PlanError and UnreadableManifestError."""
    worker = _pool([each for each in workloads(manifests) if each.role == "worker"], pool)
    if concurrency(worker) < 1:
        raise PlanError(f"{worker}: it runs {concurrency(worker)} handlers at a time; give 1 or more.")
    grace = value(worker, "HOOKLINE_GRACE_SECONDS")
    notes: list[str] = []
    return Given(
        source=str(worker),
        scaling=_scaling(worker, notes),
        kind=_kind(worker, patience_seconds=grace - margin_seconds(grace)),
        grace_seconds=grace,
        queues=worker.queues,
        notes=tuple(notes),
    )


def _pool(found: Sequence[Workload], name: str | None) -> Workload:
    names = ", ".join(each.manifest.name for each in found)
    if not found:
        raise PlanError("None of these manifests runs a worker; are they rendered?")
    chosen = [each for each in found if name in (None, each.manifest.name)]
    if len(chosen) != 1:
        raise PlanError(f"Name one pool of workers with --pool; there are: {names}.")
    return chosen[0]


def _kind(worker: Workload, *, patience_seconds: float) -> PodKind:
    startup, readiness = worker.probe("startupProbe"), worker.probe("readinessProbe")
    limit = ((worker.container.get("resources") or {}).get("limits") or {}).get("cpu")
    return PodKind(
        concurrency=concurrency(worker),
        request_cores=_request(worker, None) or BASE_REQUEST,
        limit_cores=quantity(str(limit)) if limit is not None else math.inf,
        startup_period_seconds=startup.period_seconds if startup else 1.0,
        readiness_period_seconds=readiness.period_seconds if readiness else 1.0,
        patience_seconds=patience_seconds,
    )


def _request(worker: Workload, container: str | None) -> float | None:
    """Return what a pod requests of the CPU, or one container; None if one of them says nothing."""
    inits = worker.pod.get("initContainers") or ()
    every = [*containers(worker.manifest), *(one for one in inits if one.get("restartPolicy") == "Always")]
    given = [
        ((one.get("resources") or {}).get("requests") or {}).get("cpu")
        for one in every
        if container in (None, one.get("name"))
    ]
    return None if None in given or not given else sum(quantity(str(each)) for each in given)


def _scaling(worker: Workload, notes: list[str]) -> Scaling:
    if not worker.autoscalers:
        if worker.most_replicas < 1:
            raise PlanError(f"{worker}: it has no replicas; 1 or more are simulated.")
        return fixed(worker.most_replicas)
    scaler = worker.autoscalers[0]
    read = _by_keda if scaler.kind == "ScaledObject" else _by_autoscaler
    return read(scaler, worker, notes)


def _by_autoscaler(scaler: Manifest, worker: Workload, notes: list[str]) -> Scaling:
    spec = scaler.spec
    metrics = tuple(_metrics(spec.get("metrics") or [_DEFAULT_METRIC], worker, notes))
    least, most = int(spec.get("minReplicas", 1)), int(spec["maxReplicas"])
    return _made(scaler, metrics, behavior_of(spec.get("behavior")), least, most)


_DEFAULT_METRIC = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}


def _metrics(specs: Sequence[Mapping[str, Any]], worker: Workload, notes: list[str]) -> Iterator[Metric]:
    for spec in specs:
        metric = _external(spec["external"]) if spec["type"] == "External" else _cpu(spec, worker)
        if metric is None:
            notes.append(f"The autoscaler's metric {_name(spec)} is not simulated and is left out.")
        else:
            yield metric


def _external(source: Mapping[str, Any]) -> Metric | None:
    name, target = source["metric"]["name"], source["target"]
    if name == AGE_METRIC and "value" in target:
        return Age(_positive(quantity(str(target["value"]))))
    if name == DEPTH_METRIC and "averageValue" in target:
        return Depth(_positive(quantity(str(target["averageValue"]))), MOST_COUNTED)
    return None


def _cpu(spec: Mapping[str, Any], worker: Workload) -> Metric | None:
    source = spec.get("resource") or spec.get("containerResource") or {}
    percent = (source.get("target") or {}).get("averageUtilization")
    if source.get("name") != "cpu" or percent is None:
        return None
    request = _request(worker, source.get("container"))
    if not request:
        raise PlanError(f"{worker}: a container requests no CPU, so the autoscaler cannot scale by a share of it.")
    return Cpu(int(_positive(float(percent))), request)


def _positive(target: float) -> float:
    if not 0 < target < math.inf:
        raise ValueError(f"an autoscaler's target is {target:g}")
    return target


def _name(spec: Mapping[str, Any]) -> str:
    source = next((each for key, each in spec.items() if key != "type" and isinstance(each, dict)), {})
    return str(source.get("name") or (source.get("metric") or {}).get("name") or spec.get("type"))


def behavior_of(spec: Mapping[str, Any] | None) -> Behavior:
    if spec is None:
        return NOT_GIVEN
    return Behavior(_rules(spec.get("scaleUp") or {}, UP), _rules(spec.get("scaleDown") or {}, DOWN))


def _rules(spec: Mapping[str, Any], default: Rules) -> Rules:
    policies = tuple(
        Policy(Kind(each["type"]), int(each["value"]), float(each["periodSeconds"]))
        for each in spec.get("policies", ())
    )
    tolerance = spec.get("tolerance")
    return Rules(
        float(spec.get("stabilizationWindowSeconds", default.stabilization_seconds)),
        policies or default.policies,
        Select(spec.get("selectPolicy", default.select)),
        None if tolerance is None else quantity(str(tolerance)),
    )


def _by_keda(scaler: Manifest, worker: Workload, notes: list[str]) -> Scaling:
    """Return what the autoscaler does that KEDA makes of a ScaledObject."""
    spec = scaler.spec
    metrics = tuple(_triggers(spec.get("triggers") or (), worker, notes))
    least = int(spec.get("minReplicaCount", 0))
    if least == 0:
        notes.append("minReplicaCount 0 is simulated as 1: how KEDA starts the first worker is not simulated.")
    config = (spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}
    most = int(spec.get("maxReplicaCount", 100))
    return _made(scaler, metrics, behavior_of(config.get("behavior")), max(1, least), most, asks_directly=True)


def _triggers(specs: Sequence[Mapping[str, Any]], worker: Workload, notes: list[str]) -> Iterator[Metric]:
    for spec in specs:
        values = spec.get("metadata") or {}
        target = values.get("targetQueryValue") or values.get("threshold")
        if spec["type"] in ("postgresql", "prometheus") and target and spec.get("metricType") != "Value":
            limit = _LIMIT.search(str(values.get("query", "")))
            yield Depth(_positive(float(target)), int(limit[1]) if limit else MOST_COUNTED)
        elif spec["type"] == "cpu" and "value" in values:
            target = {"averageUtilization": values["value"]}
            yield from _metrics([{"type": "Resource", "resource": {"name": "cpu", "target": target}}], worker, notes)
        else:
            notes.append(f"The trigger {spec['type']} is not simulated and is left out.")


def _made(
    scaler: Manifest,
    metrics: tuple[Metric, ...],
    behavior: Behavior,
    least: int,
    most: int,
    *,
    asks_directly: bool = False,
) -> Scaling:
    if not metrics:
        raise PlanError(f"{scaler}: none of its metrics can be simulated.")
    if not 1 <= least <= most:
        raise PlanError(f"{scaler}: it has {least} replicas at least and {most} at most; 1 or more are simulated.")
    return Scaling("given", metrics, behavior, least, most, asks_directly)
