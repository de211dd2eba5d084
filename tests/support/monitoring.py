"""What the component `monitoring`, and others, ask of the metrics."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.kubernetes import KUBERNETES

COMPONENTS = KUBERNETES / "components"
METRIC = re.compile(r"\b(hookline_[a-z_]+)")


def rules() -> dict[str, Any]:
    """Return the alert rules as Prometheus itself reads them, without Kubernetes' object around them."""
    spec: dict[str, Any] = yaml.safe_load((COMPONENTS / "monitoring" / "prometheusrule.yaml").read_text())["spec"]
    return spec


def alerts() -> list[dict[str, Any]]:
    return [rule for group in rules()["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((COMPONENTS / "monitoring" / "dashboard.json").read_text())
    return found


def panels() -> dict[str, list[str]]:
    """Return the queries of each of the dashboard's panels."""
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in dashboard()["panels"]}


def queries() -> Iterator[str]:
    """Yield every query of alerts, dashboard, adapter and the READMEs' snippets."""
    yield from (rule["expr"] for rule in alerts())
    for asked in panels().values():
        yield from asked
    adapter = yaml.safe_load((COMPONENTS / "backlog-autoscaling" / "prometheus-adapter.yaml").read_text())
    yield from (rule["metricsQuery"] for rule in adapter["rules"]["external"])
    yield from re.findall(r"query: (.*hookline_.*)", (COMPONENTS / "keda" / "README.md").read_text())
