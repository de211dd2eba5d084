"""The smallest manifests that fit Hookline, and changes of them, for the tests of workers/deployment."""

from collections.abc import Callable
from typing import Any

from django.conf import settings

from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import Backoff, Subscription, Subscriptions
from workers.deployment import mismatches
from workers.deployment.deployed import Deployed, Surroundings
from workers.deployment.manifests import Manifest
from workers.runs.registration import visibility_seconds

Manifests = dict[str, Any]
Change = Callable[[Manifests], object]


def probe(path: str, port: int, **seconds: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port}, "periodSeconds": 10, "timeoutSeconds": 5} | seconds


def deployment(role: str, port: int, **more: Any) -> dict[str, Any]:
    container = {
        "name": role,
        "args": [role],
        "envFrom": [{"configMapRef": {"name": "config"}}],
        "env": [],
        "startupProbe": probe("/startupz", port, failureThreshold=6),
        "livenessProbe": probe("/livez", port, failureThreshold=3),
        "readinessProbe": probe("/readyz", port, failureThreshold=1, periodSeconds=5),
        "resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "2Gi"}},
    }
    pod = {"terminationGracePeriodSeconds": 100, "enableServiceLinks": False, "containers": [container]}
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = {"strategy": strategy, "template": {"metadata": {}, "spec": pod}} | more
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": role}, "spec": spec}


def flower() -> dict[str, Any]:
    found = deployment("flower", 5555, replicas=1, strategy={"type": "Recreate"})
    container = found["spec"]["template"]["spec"]["containers"][0]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        container[kind]["httpGet"]["path"] = "/healthcheck"
    return found


def scaler(kind: str = "HorizontalPodAutoscaler", *, target: str = "worker", most: int = 5) -> dict[str, Any]:
    maximum = {"maxReplicas": most} if kind == "HorizontalPodAutoscaler" else {"maxReplicaCount": most}
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, **maximum}
    return {"kind": kind, "metadata": {"name": f"{kind}-{target}"}, "spec": spec}


def sound() -> Manifests:
    return {
        "config": {"kind": "ConfigMap", "metadata": {"name": "config"}, "data": {"HOOKLINE_DRAIN_SECONDS": "15"}},
        "receiver": deployment("receiver", 8000, replicas=2),
        "relay": deployment("relay", 8001, replicas=2),
        "worker": deployment("worker", 8001),
        "scaler": scaler(),
        "flower": flower(),
    }


def pod(manifests: Manifests, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests[name]["spec"]["template"]["spec"]
    return found


def container(manifests: Manifests, name: str) -> dict[str, Any]:
    found: dict[str, Any] = pod(manifests, name)["containers"][0]
    return found


def config(name: str, value: str) -> Change:
    """Return a change of the ConfigMap."""
    return lambda manifests: manifests["config"]["data"].update({name: value})


def with_own(role: str, name: str, value: str) -> Change:
    """Return a change of one role's own variables."""
    return lambda manifests: container(manifests, role)["env"].append({"name": name, "value": value})


def with_arguments(*arguments: str) -> Change:
    return lambda manifests: container(manifests, "worker").update(args=["worker", *arguments])


def with_secret(role: str, secret: str, *keys: str, at: str = "/run/hookline") -> Change:
    """Return a change by which a role's pod mounts these keys of a Secret, or all of them."""

    def change(manifests: Manifests) -> None:
        items = [{"key": key, "path": key} for key in keys]
        volume = {"name": secret, "secret": {"secretName": secret, **({"items": items} if items else {})}}
        pod(manifests, role).setdefault("volumes", []).append(volume)
        container(manifests, role).setdefault("volumeMounts", []).append({"name": secret, "mountPath": at})

    return change


def with_grace(role: str, seconds: int) -> Change:
    return lambda manifests: pod(manifests, role).update(terminationGracePeriodSeconds=seconds)


def with_probe(role: str, kind: str, **values: Any) -> Change:
    return lambda manifests: container(manifests, role)[kind].update(values)


def with_hook(role: str, hook: dict[str, Any]) -> Change:
    return lambda manifests: container(manifests, role).update(lifecycle={"preStop": hook})


def with_spec(name: str, **values: Any) -> Change:
    return lambda manifests: manifests[name]["spec"].update(values)


def with_memory(kind: str, size: str) -> Change:
    return lambda manifests: container(manifests, "worker")["resources"].update({kind: {"memory": size}})


def both(*changes: Change) -> Change:
    def change(manifests: Manifests) -> None:
        for one in changes:
            one(manifests)

    return change


def handler(_event: Event) -> str | None:
    return None


def subscription(name: str = "greet", *, time_limit: float = 60, queue: str = "default") -> Subscription:
    return Subscription(
        name=name,
        handler=handler,
        events=frozenset({"push"}),
        actions=None,
        where={},
        queue=queue,
        time_limit=time_limit,
        soft_time_limit=time_limit * 0.9,
        max_attempts=5,
        backoff=Backoff(),
        takes_run=False,
    )


def around(*subscriptions: Subscription, max_connections: int | None = None) -> Surroundings:
    return Surroundings(
        subscriptions=Subscriptions(subscriptions or (subscription(),)),
        apps=frozenset({"quiet_bot"}),
        default_queue="default",
        default_time_limit=60,
        variables=frozenset(settings.HOOKLINE_VARIABLES),
        withheld=settings.HOOKLINE_WITHHELD,
        visibility_seconds=visibility_seconds,
        receiver_margin_seconds=5,
        max_connections=max_connections,
        consumer_timeout_seconds=1800,
    )


def found(change: Change | None = None, *subscriptions: Subscription, max_connections: int | None = None) -> list[str]:
    manifests = sound()
    if change:
        change(manifests)
    documents = (Manifest("rendered.yaml", one) for one in manifests.values())
    return list(mismatches(Deployed.of(documents, around(*subscriptions, max_connections=max_connections))))
