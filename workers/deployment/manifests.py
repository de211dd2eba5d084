"""Reads rendered Kubernetes manifests: which programs of Hookline they run, with which variables, probes and times.

What is not in the files (a Secret's content, a cluster's own settings) is not known here; no cluster is asked. The
rules are in the other modules of this package.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

ROLES = ("receiver", "relay", "reconcile", "worker", "flower", "migrate")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")

PODS_ANNOTATION = "hookline/most-pods"
"""On a DaemonSet: how many nodes it may run on."""

_SLEEP = re.compile(r"sleep\s+(\d+(?:\.\d+)?)")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "m": 1e-3}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)")
_MEBIBYTE = 2**20


class UnreadableManifestError(Exception):
    """The file holds something other than Kubernetes manifests."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document of a file."""

    file: str
    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        return str(_at(self.body, "metadata", "name"))

    @property
    def namespace(self) -> str:
        return str(_at(self.body, "metadata", "namespace") or "")

    @property
    def spec(self) -> Mapping[str, Any]:
        return _at(self.body, "spec") or {}

    def annotation(self, name: str) -> str | None:
        return (_at(self.body, "metadata", "annotations") or {}).get(name)

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe of a container, with Kubernetes' defaults for missing values. `path` is None if it is not by HTTP."""

    path: str | None
    port: int | None
    period_seconds: float
    timeout_seconds: float
    failures: int

    @property
    def patience_seconds(self) -> float:
        return self.period_seconds * self.failures


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or Job that runs one of Hookline's programs, and the variables that its container gets."""

    manifest: Manifest
    container: Mapping[str, Any]
    variables: Mapping[str, str]
    autoscalers: tuple[Manifest, ...] = field(default=())

    def __str__(self) -> str:
        return str(self.manifest)

    @property
    def role(self) -> str:
        return self.arguments[0]

    @property
    def arguments(self) -> list[str]:
        return arguments(self.container)

    @property
    def queues(self) -> frozenset[str] | None:
        """The queues of its --queues; None for all."""
        given = _option(self.arguments, "--queues")
        names = frozenset(queue.strip() for queue in (given or "").split(",") if queue.strip())
        return names or None

    @property
    def concurrency(self) -> str | None:
        """The value of --concurrency, which wins over the variable."""
        return _option(self.arguments, "--concurrency")

    @property
    def pod(self) -> Mapping[str, Any]:
        return _at(self.manifest.spec, "template", "spec") or {}

    @property
    def pod_annotations(self) -> Mapping[str, str]:
        return _at(self.manifest.spec, "template", "metadata", "annotations") or {}

    @property
    def grace_seconds(self) -> float:
        """From SIGTERM, or from the start of a preStop hook, until SIGKILL."""
        return float(self.pod.get("terminationGracePeriodSeconds", 30))

    @property
    def pre_stop_seconds(self) -> float | None:
        """How long its preStop hook takes before SIGTERM; None if that is unknown."""
        hook = _at(self.container, "lifecycle", "preStop")
        if not hook:
            return 0.0
        if "sleep" in hook:
            return float(hook["sleep"]["seconds"])
        found = _SLEEP.search(" ".join(map(str, _at(hook, "exec", "command") or ())))
        return float(found[1]) if found else None

    @property
    def most_replicas(self) -> int:
        """How many pods it has at most, without the additional ones of a rollout."""
        spec = self.manifest.spec
        if self.manifest.kind == "Job":
            return int(spec.get("parallelism", 1))
        if self.manifest.kind == "DaemonSet":
            return int(self.manifest.annotation(PODS_ANNOTATION) or 1)
        for autoscaler in self.autoscalers:
            most = autoscaler.spec.get("maxReplicas", autoscaler.spec.get("maxReplicaCount", 100))
            return int(most)
        return int(spec.get("replicas", 1))

    @property
    def surge(self) -> int:
        """How many pods a rollout adds."""
        return self._of_rollout("maxSurge", rounds_up=True)

    @property
    def unavailable(self) -> int:
        """How many pods a rollout removes before new ones are ready."""
        if _at(self.manifest.spec, "strategy", "type") == "Recreate":
            return self.most_replicas
        return self._of_rollout("maxUnavailable", rounds_up=False)

    def _of_rollout(self, name: str, *, rounds_up: bool) -> int:
        strategy = self.manifest.spec.get("strategy") or {}
        if self.manifest.kind != "Deployment" or strategy.get("type") == "Recreate":
            return 0
        given = str((strategy.get("rollingUpdate") or {}).get(name, "25%"))
        if not given.endswith("%"):
            return int(given)
        share = int(given[:-1]) * self.most_replicas
        return -(-share // 100) if rounds_up else share // 100

    def memory_mb(self, kind: str) -> float | None:
        """Return the container's memory (`requests` or `limits`) in MB of 2²⁰ bytes."""
        given = _at(self.container, "resources", kind, "memory")
        return None if given is None else quantity(str(given)) / _MEBIBYTE

    def probe(self, kind: str) -> Probe | None:
        body = self.container.get(kind)
        if not body:
            return None
        page = body.get("httpGet") or {}
        return Probe(
            path=page.get("path"),
            port=self._port(page.get("port")),
            period_seconds=float(body.get("periodSeconds", 10)),
            timeout_seconds=float(body.get("timeoutSeconds", 1)),
            failures=int(body.get("failureThreshold", 3)),
        )

    def _port(self, given: Any) -> int | None:
        if isinstance(given, int):
            return given
        ports = self.container.get("ports", ())
        return next((int(port["containerPort"]) for port in ports if port.get("name") == given), None)


def read_manifests(text: str, *, file: str) -> list[Manifest]:
    """Return the documents of a file, those of a List one by one. Raises UnreadableManifestError."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise UnreadableManifestError(f"{file} is no YAML{line}.") from None
    manifests = [Manifest(file, body) for document in documents for body in _unpacked(document)]
    for manifest in manifests:
        if not isinstance(manifest.body, dict) or not {"kind", "metadata"} <= manifest.body.keys():
            raise UnreadableManifestError(f"{file} holds a document without kind and metadata.")
    return manifests


def workloads(manifests: Iterable[Manifest]) -> list[Workload]:
    """Return the workloads that run a role of Hookline: the first argument of the container's `manage.py`."""
    every = list(manifests)
    return [
        Workload(
            manifest,
            container,
            _variables(container, every),
            tuple(other for other in every if other.kind in AUTOSCALERS and _targets(other, manifest)),
        )
        for manifest in every
        for container in containers(manifest)
        if _runs_a_role(container)
    ]


def containers(manifest: Manifest) -> Sequence[Mapping[str, Any]]:
    """Return a workload's containers without its init containers; none for other manifests."""
    return (_at(manifest.spec, "template", "spec", "containers") or ()) if manifest.kind in WORKLOADS else ()


def arguments(container: Mapping[str, Any]) -> list[str]:
    """Return the arguments of `manage.py`, which is the image's entry point or in the container's command."""
    words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
    program = next((number for number, word in enumerate(words) if word.rpartition("/")[2] == "manage.py"), -1)
    return words[program + 1 :]


def of_no_role(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, str]]:
    """Yield the containers, by name, that use an image of Hookline and run something other than a role."""
    every = [(manifest, container) for manifest in manifests for container in containers(manifest)]
    images = {container.get("image") for _, container in every if _runs_a_role(container)} - {None}
    for manifest, container in every:
        # A Job may run any command of manage.py, once.
        if manifest.kind != "Job" and container.get("image") in images and not _runs_a_role(container):
            yield manifest, str(container.get("name"))


def _runs_a_role(container: Mapping[str, Any]) -> bool:
    return next(iter(arguments(container)), None) in ROLES


def quantity(text: str) -> float:
    """Return the number that a quantity of Kubernetes means: `640Mi` is 671,088,640. Raises UnreadableManifestError."""
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        raise UnreadableManifestError(f"{text!r} is no quantity.")
    return float(found[1]) * _UNITS[found[2]]


def _unpacked(document: Any) -> Iterator[Any]:
    if isinstance(document, dict) and document.get("kind") == "List":
        yield from document.get("items", ())
    else:
        yield document


def _variables(container: Mapping[str, Any], manifests: Iterable[Manifest]) -> dict[str, str]:
    """Return the container's variables, as far as they are in these files; its own `env` wins, as in Kubernetes."""
    configs = {manifest.name: manifest.body.get("data") or {} for manifest in manifests if manifest.kind == "ConfigMap"}
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        values = configs.get(str(_at(source, "configMapRef", "name")), {})
        found |= {f"{prefix}{name}": str(value) for name, value in values.items()}
    for variable in container.get("env") or ():
        reference = _at(variable, "valueFrom", "configMapKeyRef") or {}
        value = variable.get("value", configs.get(str(reference.get("name")), {}).get(reference.get("key")))
        # Of a variable from a Secret, only the name is known.
        found[variable["name"]] = "" if value is None else str(value)
    return found


def _targets(autoscaler: Manifest, manifest: Manifest) -> bool:
    target = autoscaler.spec.get("scaleTargetRef") or {}
    return bool(target.get("name") == manifest.name and target.get("kind", "Deployment") == manifest.kind)


def _option(arguments: list[str], name: str) -> str | None:
    for number, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name:
            return next(iter(arguments[number + 1 :]), None)
    return None


def _at(body: Any, *path: str) -> Any:
    """Return the value at a path of keys, or None if the path ends early."""
    for key in path:
        if not isinstance(body, dict):
            return None
        body = body.get(key)
    return body
