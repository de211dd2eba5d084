"""A Prometheus of the tests' own, on a free port of this machine."""

import json
import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.support.processes import free_port, wait_until
from tests.support.services import PROGRAMS

http = urllib3.PoolManager(retries=False)

Points = list[tuple[float, float]]
"""Moments in epoch seconds, with the value at each. Where there is no number, there is no point."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a panel."""

    labels: Mapping[str, str]
    points: Points


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus, by its port."""

    port: int

    def now(self, query: str) -> list[Series]:
        """Return the series that a query has at present."""
        found = self._ask("query", {"query": query})["result"]
        return [Series(one["metric"], _numbers([one["value"]])) for one in found]

    def over(self, query: str, *, start: float, end: float, step: float) -> list[Series]:
        """Return the series that a query has between two moments."""
        fields = {"query": query, "start": start, "end": end, "step": step}
        found = self._ask("query_range", {name: str(value) for name, value in fields.items()})["result"]
        return [Series(one["metric"], _numbers(one["values"])) for one in found]

    def is_up(self) -> bool:
        try:
            return http.request("GET", f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _ask(self, what: str, fields: Mapping[str, str]) -> dict[str, Any]:
        answer = http.request("GET", f"http://127.0.0.1:{self.port}/api/v1/{what}", fields=fields, timeout=30)
        body: dict[str, Any] = json.loads(answer.data)
        assert body["status"] == "success", body
        data: dict[str, Any] = body["data"]
        return data


def _numbers(values: list[tuple[float, str]]) -> Points:
    return [(at, float(value)) for at, value in values if math.isfinite(float(value))]


def jobs_of(ports: Mapping[str, int]) -> list[Mapping[str, Any]]:
    """Return what scrapes these ports of this machine, each by the name of its role."""
    return [{"job_name": role, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for role, port in ports.items()]


@contextmanager
def running_prometheus(directory: Path, jobs: Sequence[Mapping[str, Any]], *, seconds: int = 1) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes by these `scrape_configs`, every so many seconds."""
    settings = {"global": {"scrape_interval": f"{seconds}s"}, "scrape_configs": [*jobs]}
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    found = Prometheus(free_port())
    command = [
        PROGRAMS["prometheus"] or "",
        f"--config.file={directory}/prometheus.yaml",
        f"--storage.tsdb.path={directory}/prometheus",
        f"--web.listen-address=127.0.0.1:{found.port}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(found.is_up, what="Prometheus to be ready")
        yield found
    finally:
        process.terminate()
        process.wait(30)
