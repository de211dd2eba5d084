"""Rules on size: replicas against the database's connections, children against memory, and what sets the replicas."""

from collections import Counter
from collections.abc import Iterator

from workers.deployment.deployed import Deployed, Rule, value
from workers.deployment.manifests import AUTOSCALERS, PODS_ANNOTATION, UnreadableManifestError, Workload

MAX_CONNECTIONS = 100
"""PostgreSQL's own default."""
RESERVED_CONNECTIONS = 3
"""PostgreSQL keeps these for its superuser."""
MAX_CONNECTIONS_ANNOTATION = "hookline/database-max-connections"
"""On the ConfigMap: what the database answers to SHOW max_connections."""
CONNECTIONS_ANNOTATION = "hookline/database-connections"
"""On a pod: how many connections it opens at most, where that is not what is counted here: through a pgbouncer of its
own, or since no handler of a worker uses the database."""
PAGE_CONNECTIONS = 4
"""A receiver's threads for the admin's pages."""
DISPATCHER_CONNECTIONS = 2
"""One to claim and record, and one for what the worker reports of itself and what its probes' check asks."""
PARENT_MB, CHILD_MB = 95.0, 9.0
"""The memory of a worker at work, without what its handlers keep: the parent with its probes, and each child. Measured
by tests/benchmarks/worker_memory.py with handlers that use the ORM, on the image's Python, and rounded up. Decision
0008 has these figures and those of older Pythons."""


API_PARENT_MB, API_CHILD_MB = 23.0, 18.0
"""What a worker takes more that has an App's key, once each child has called GitHub's API; measured by
tests/benchmarks/api_memory.py."""


def connections(workload: Workload) -> int:
    """Return how many connections to the database one pod opens at most."""
    if (given := workload.pod_annotations.get(CONNECTIONS_ANNOTATION)) is not None:
        return int(given)
    each = {
        "receiver": int(value(workload, "HOOKLINE_RECEIVER_THREADS")) + PAGE_CONNECTIONS,
        # One to publish, one for the upkeep.
        "relay": 2,
        "reconcile": 1,
        # A child keeps one if its handler uses the database, and nothing here tells which handlers do.
        "worker": DISPATCHER_CONNECTIONS + concurrency(workload),
        "migrate": 1,
    }
    return each.get(workload.role, 0)


def concurrency(workload: Workload) -> int:
    """Return how many handlers one pod runs at a time."""
    given = workload.concurrency or ""
    return int(given) if given.isdigit() else int(value(workload, "HOOKLINE_WORKER_CONCURRENCY"))


def database_connections(deployed: Deployed) -> Iterator[str]:
    needed: Counter[str] = Counter()
    for workload in deployed.workloads:
        # During a rollout the new pods run beside the old ones.
        needed[workload.manifest.name] += (workload.most_replicas + workload.surge) * connections(workload)
    most = max_connections(deployed) - RESERVED_CONNECTIONS
    if needed.total() > most:
        largest, its = needed.most_common(1)[0]
        yield (
            f"At their most, and during a rollout, all pods open {needed.total()} connections to the database ({its} "
            f"of them {largest}), which allows {most}; raise its max_connections and say so here "
            f"(--max-connections, or the annotation {MAX_CONNECTIONS_ANNOTATION}), have fewer workers, add the "
            f"component pgbouncer-sidecar, or give worker pods whose handlers use no database the annotation "
            f'{CONNECTIONS_ANNOTATION}: "{DISPATCHER_CONNECTIONS}".'
        )


def unknown_replicas(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.workloads:
        if workload.manifest.kind == "DaemonSet" and workload.manifest.annotation(PODS_ANNOTATION) is None:
            yield (
                f"{workload}: the cluster's nodes decide how many pods it has, and here it counts as one; give "
                f"their number in its annotation {PODS_ANNOTATION}, or make it a Deployment."
            )


def max_connections(deployed: Deployed) -> int:
    """Return the database's max_connections: from the command line, from the manifests, or its default."""
    if deployed.around.max_connections is not None:
        return deployed.around.max_connections
    annotations = (one.annotation(MAX_CONNECTIONS_ANNOTATION) for one in deployed.manifests if one.kind == "ConfigMap")
    for given in filter(None, annotations):
        if not given.isdigit():
            raise UnreadableManifestError(f"The annotation {MAX_CONNECTIONS_ANNOTATION} is {given!r}, no number.")
        return int(given)
    return MAX_CONNECTIONS


def memory_limit(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        limit, one_child = workload.memory_mb("limits"), value(workload, "HOOKLINE_CHILD_MAX_MB")
        needed = working_mb(workload) + one_child
        if limit is not None and limit < needed:
            yield (
                f"{workload}: its memory limit is {limit:,.0f} Mi, and {concurrency(workload)} children of which one "
                f"takes the {one_child:g} MB that HOOKLINE_CHILD_MAX_MB lets it have need {needed:,.0f}; beyond the "
                f"limit the kernel ends all of them, so raise it or lower HOOKLINE_CHILD_MAX_MB."
            )


def memory_request(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        request, needed = workload.memory_mb("requests"), working_mb(workload)
        if request is None or request < needed:
            yield (
                f"{workload}: it requests {request or 0:,.0f} Mi of memory, and {concurrency(workload)} children take "
                f"about {needed:,.0f} without what handlers keep; request that, or its node may be too small for it."
            )


def working_mb(workload: Workload) -> float:
    """Return the memory of a worker's pod without what its handlers keep."""
    calls_api = any(name.startswith("GITHUB_APP_PRIVATE_KEY") for name in workload.variables)
    parent, child = (API_PARENT_MB, API_CHILD_MB) if calls_api else (0.0, 0.0)
    return PARENT_MB + parent + (CHILD_MB + child) * concurrency(workload)


def autoscaled_replicas(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.workloads:
        names = [f"{scaler.kind} {scaler.name}" for scaler in workload.autoscalers]
        if len(names) > 1:
            yield f"{workload}: {' and '.join(names)} both say how many there are; keep one."
        if names and "replicas" in workload.manifest.spec:
            yield (
                f"{workload}: it sets replicas, which each apply would put back, and {names[0]} sets them too; remove "
                f"replicas."
            )


def missing_targets(deployed: Deployed) -> Iterator[str]:
    there = {(one.kind, one.name) for one in deployed.manifests}
    for scaler in deployed.manifests:
        target = scaler.spec.get("scaleTargetRef") or {}
        if scaler.kind in AUTOSCALERS and (target.get("kind", "Deployment"), target.get("name")) not in there:
            yield f"{scaler}: it scales {target.get('name')}, which is not in these files; correct its scaleTargetRef."


def leftover_autoscalers(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        if not any(scaler.kind == "HorizontalPodAutoscaler" for scaler in workload.autoscalers):
            name, namespace = workload.manifest.name, workload.manifest.namespace or "default"
            yield (
                f"{workload}: no HorizontalPodAutoscaler of these files scales it, and an apply removes none; an older "
                f"one would still scale it: kubectl -n {namespace} delete hpa {name} --ignore-not-found"
            )


def single_flower(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("flower"):
        if workload.most_replicas + workload.surge > 1:
            yield (
                f"{workload}: more than one Flower may run, and each would show a part of what happened; set replicas "
                f"to 1 and the strategy's type to Recreate."
            )


def receiver_rollout(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("receiver"):
        if workload.most_replicas <= workload.unavailable:
            yield (
                f"{workload}: a rollout may leave no receiver at all, and GitHub does not send again; set the "
                f"strategy's maxUnavailable to 0."
            )


def service_links(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.workloads:
        if workload.pod.get("enableServiceLinks", True):
            yield (
                f"{workload}: Kubernetes gives it variables for each Service, and one named hookline or flower would "
                f"set HOOKLINE_PORT or FLOWER_PORT; set enableServiceLinks to false."
            )


RULES: tuple[Rule, ...] = (
    database_connections,
    unknown_replicas,
    memory_limit,
    memory_request,
    autoscaled_replicas,
    missing_targets,
    single_flower,
    receiver_rollout,
    service_links,
)
NOTES: tuple[Rule, ...] = (leftover_autoscalers,)
