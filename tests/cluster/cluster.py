"""The whole cluster, and what tests ask of it."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import network
from tests.cluster.control_plane import Component, control_plane
from tests.cluster.credentials import Credentials
from tests.cluster.node import PAUSE_IMAGE, Node, running_node
from tests.cluster.programs import program
from tests.support.processes import wait_until

METRICS_PORT = 4443

Document = Mapping[str, Any]


class Cluster:
    """A control plane, and the nodes that were started."""

    def __init__(self, directory: Path, credentials: Credentials) -> None:
        self.directory, self._credentials = directory, credentials
        self.kubeconfig = credentials.administrator
        self.nodes: list[Node] = []

    def try_kubectl(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        command = [program("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as an administrator, and return what it printed."""
        done = self.try_kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get` finds: an object, or a list's items."""
        found = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found["items"] if found["kind"].endswith("List") else found

    def apply(self, *documents: Document) -> str:
        text = "\n---\n".join(map(json.dumps, documents))
        return self.kubectl("apply", "--server-side", "--filename=-", stdin=text)

    def delete(self, *documents: Document) -> None:
        text = "\n---\n".join(map(json.dumps, documents))
        self.kubectl("delete", "--ignore-not-found", "--filename=-", stdin=text)

    @property
    def server_certificate(self) -> tuple[Path, Path]:
        """Return the certificate, and its key, of a server on this machine that the API server asks."""
        return self._credentials.server_certificate, self._credentials.server_key

    def load(self, archive: Path) -> None:
        for node in self.nodes:
            node.load(archive)

    def wait_until_nodes_are_ready(self) -> None:
        def ready() -> bool:
            conditions = [node["status"].get("conditions", []) for node in self.get("nodes")]
            is_ready = [any(one["type"] == "Ready" and one["status"] == "True" for one in each) for each in conditions]
            return len(is_ready) == len(self.nodes) and all(is_ready)

        wait_until(ready, what="every node to be ready", seconds=120)


@contextlib.contextmanager
def running_cluster(directory: Path, *, nodes: int = 2) -> Iterator[Cluster]:
    """Start a cluster, wait until its nodes are ready, and remove all of it at the end."""
    credentials = Credentials(directory)
    with contextlib.ExitStack() as stack:
        stack.enter_context(network.bridge())
        stack.enter_context(control_plane(directory, credentials))
        cluster = Cluster(directory, credentials)
        for number in range(1, nodes + 1):
            cluster.nodes.append(stack.enter_context(running_node(number, directory, credentials)))
        with _pause_image() as archive:
            cluster.load(archive)
        stack.enter_context(_metrics_server(cluster, credentials))
        cluster.wait_until_nodes_are_ready()
        yield cluster


@contextlib.contextmanager
def _pause_image() -> Iterator[Path]:
    """Yield an archive of the image that holds a pod's namespaces: one file."""
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory, "pause.tar")
        image = _run("buildah", "from", "scratch")
        try:
            _run("buildah", "copy", image, program("pause"), "/pause")
            _run("buildah", "config", "--entrypoint", '["/pause"]', image)
            _run("buildah", "commit", "--quiet", image, f"docker-archive:{archive}:{PAUSE_IMAGE}")
        finally:
            _run("buildah", "rm", image)
        yield archive


@contextlib.contextmanager
def _metrics_server(cluster: Cluster, credentials: Credentials) -> Iterator[None]:
    """Answer metrics.k8s.io, which the HorizontalPodAutoscaler reads CPU from."""
    config = credentials.kubeconfig("metrics-server", group="system:masters")
    server = Component("metrics-server", cluster.directory)
    server.start(
        {
            "kubeconfig": config,
            "authentication-kubeconfig": config,
            "authorization-kubeconfig": config,
            "bind-address": network.HOST,
            "secure-port": METRICS_PORT,
            "cert-dir": server.directory / "certificates",
            "kubelet-insecure-tls": True,
            "kubelet-preferred-address-types": "InternalIP",
            "metric-resolution": "15s",
        }
    )
    try:
        cluster.apply(*aggregated("v1beta1.metrics.k8s.io", "metrics-server", METRICS_PORT))
        wait_until(
            lambda: cluster.try_kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1").returncode == 0,
            what="the metrics API",
        )
        yield
    finally:
        server.end()


def aggregated(api: str, name: str, port: int) -> list[Document]:
    """Return what makes the API server ask a server on this machine for one of its APIs."""
    version, _, group = api.partition(".")
    metadata = {"name": name, "namespace": "kube-system"}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": port}],
            "endpoints": [{"addresses": [network.HOST], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": api},
            "spec": {
                "group": group,
                "version": version,
                "service": {"name": name, "namespace": "kube-system", "port": port},
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()
