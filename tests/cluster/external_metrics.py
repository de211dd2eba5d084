"""The external metrics API, as the component `backlog-autoscaling` needs it.

A real Prometheus scrapes the relays, and a server of these tests stands in for prometheus-adapter: it asks Prometheus
what the component's own rules say. Debian's Prometheus does not know Kubernetes; a file tells it where the pods are.
"""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from tests.cluster import network
from tests.cluster.cluster import Cluster, aggregated
from tests.cluster.installation import NAMESPACE, Installation
from tests.monitoring.prometheus import Prometheus, running_prometheus
from tests.support.monitoring import COMPONENTS
from tests.support.processes import wait_until

API = "external.metrics.k8s.io/v1beta1"
PORT = 4444
METRICS_PORT = 8001
SCRAPED_SECONDS = 15
"""As often as the component `monitoring` has it."""
FOLLOWS_SECONDS = 5.0


@contextmanager
def external_metrics(installation: Installation, directory: Path) -> Iterator[None]:
    """Answer the API while this goes on, and wait until it knows every metric of the rules."""
    cluster, targets = installation.cluster, directory / "targets.json"
    targets.write_text("[]")
    jobs = [{"job_name": "relay", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "5s"}]}]
    with ExitStack() as stack:
        prometheus = stack.enter_context(running_prometheus(directory, jobs, seconds=SCRAPED_SECONDS))
        stack.enter_context(_following(installation, targets))
        stack.enter_context(_serving(cluster, prometheus))
        wait_until(lambda: all(_knows(cluster, name) for name in queries()), what="the external metrics", seconds=120)
        yield


def queries() -> dict[str, str]:
    """Return the query of each metric, by its name, from the rules that the component brings for prometheus-adapter."""
    rules = yaml.safe_load((COMPONENTS / "backlog-autoscaling" / "prometheus-adapter.yaml").read_text())
    return {rule["name"]["as"]: rule["metricsQuery"] for rule in rules["rules"]["external"]}


def _knows(cluster: Cluster, metric: str) -> bool:
    path = f"/apis/{API}/namespaces/{NAMESPACE}/{metric}?labelSelector=queue%3Ddefault"
    done = cluster.try_kubectl("get", "--raw", path)
    return done.returncode == 0 and bool(json.loads(done.stdout)["items"])


@contextmanager
def _following(installation: Installation, targets: Path) -> Iterator[None]:
    """Tell Prometheus where the relays are, all the time."""
    ends = threading.Event()

    def follow() -> None:
        while not ends.wait(FOLLOWS_SECONDS):
            pods = [pod for pod in installation.pods("relay") if pod["status"].get("podIP")]
            found = [_target(pod["metadata"]["name"], pod["status"]["podIP"]) for pod in pods]
            written = targets.with_suffix(".new")
            written.write_text(json.dumps(found))
            written.replace(targets)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def _target(pod: str, address: str) -> Mapping[str, Any]:
    """Return a target with the labels that Prometheus Operator gives it."""
    return {"targets": [f"{address}:{METRICS_PORT}"], "labels": {"namespace": NAMESPACE, "pod": pod}}


@contextmanager
def _serving(cluster: Cluster, prometheus: Prometheus) -> Iterator[None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*cluster.server_certificate)
    server = ThreadingHTTPServer((network.HOST, PORT), _handler(prometheus))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    version, group = API.split("/")[::-1]
    documents = aggregated(f"{version}.{group}", "prometheus-adapter", PORT)
    try:
        cluster.apply(*documents)
        yield
    finally:
        cluster.delete(*documents)
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(prometheus: Prometheus) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = json.dumps(answer(prometheus, url.path, dict(parse_qsl(url.query)))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def answer(prometheus: Prometheus, path: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what the API says: which metrics there are, or one's values."""
    *_, metric = path.split("/")
    if metric not in queries():
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API, "resources": _resources()}
    # A selector's `queue=default` is Prometheus' `queue="default"`.
    asked = [one.split("=", 1) for one in parameters.get("labelSelector", "").split(",") if one]
    matchers = ",".join(f'{name}="{value}"' for name, value in [*asked, ("namespace", NAMESPACE)])
    series = prometheus.now(queries()[metric].replace("<<.LabelMatchers>>", matchers))
    items = [
        {
            "metricName": metric,
            "metricLabels": one.labels,
            "timestamp": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": f"{value * 1000:.0f}m",
        }
        for one in series
        for at, value in one.points
    ]
    return {"kind": "ExternalMetricValueList", "apiVersion": API, "metadata": {}, "items": items}


def _resources() -> list[Mapping[str, Any]]:
    kind = "ExternalMetricValueList"
    return [{"name": name, "namespaced": True, "kind": kind, "verbs": ["get"]} for name in queries()]
