"""What an autoscaler does over time: replicas, backlog and what it goes by, looked at every other second, and drawn."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.installation import NAMESPACE, Installation
from workers.capacity.drawing import Panel, drawing

EVERY_SECONDS = 2.0
SUFFIXES = {"m": 0.001, "k": 1e3, "M": 1e6}
"""Of Kubernetes' quantities."""
METRICS_BY_NAME = {
    "cpu": "CPU",
    "hookline_queue_oldest_waiting_seconds": "the oldest's age",
    "hookline_queue_waiting_jobs": "jobs a worker",
}
"""What an autoscaler goes by, as the pictures call it."""
KINDS = {"cpu": "cpu", "hookline_queue_oldest_waiting_seconds": "age", "hookline_queue_waiting_jobs": "depth"}
"""And as policies call it."""


class Timeline:
    """Figures by their names, each with the moments at which it was looked at."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.began_at = time.time()
        self.points: dict[str, list[tuple[float, float]]] = {}
        self._error: BaseException | None = None

    def look(self) -> None:
        """Look at everything once."""
        deployment = self._get("deployment")
        states = self._installation.states()
        found = {
            "wanted": deployment["spec"]["replicas"],
            "ready": deployment["status"].get("readyReplicas", 0),
            "waiting": states.get("queued", 0) + states.get("retrying", 0),
            "running": states.get("running", 0),
            "finished": states.get("succeeded", 0),
            **self._seen_by_the_autoscaler(),
        }
        now = time.time()
        for name, value in found.items():
            self.points.setdefault(name, []).append((now, float(value)))

    def _metrics(self) -> list[str]:
        return [name for name in METRICS_BY_NAME.values() if name in self.points]

    def policy(self) -> str:
        """Return what the workers are scaled by, as `manage.py plan_capacity` names it: `cpu:30+depth:350`."""
        metrics = self._get("horizontalpodautoscaler")["spec"]["metrics"]
        found = [(one["type"].lower(), one) for one in metrics]
        return "+".join(f"{KINDS[_name(one[kind])]}:{_target(one[kind])[1]}" for kind, one in found)

    def _get(self, kind: str) -> Any:
        return self._installation.cluster.get(kind, "worker", f"--namespace={NAMESPACE}")

    def _seen_by_the_autoscaler(self) -> dict[str, float]:
        """Return what it has seen last, each metric in percent of its target: above 110, it asks for more workers."""
        autoscaler = self._get("horizontalpodautoscaler")
        seen = autoscaler["status"].get("currentMetrics") or ()
        return dict(_percent(wanted, seen) for wanted in autoscaler["spec"]["metrics"])

    def follow(self, ends: threading.Event) -> None:
        try:
            while not ends.wait(EVERY_SECONDS):
                self.look()
        except BaseException as error:
            self._error = error

    def seconds(self) -> float:
        """Return for how long it has been followed."""
        return time.time() - self.began_at

    def highest(self, name: str) -> float:
        return max(value for _, value in self.points[name])

    def last(self, name: str) -> float:
        """Return what was seen last. Raises what ended the looking."""
        if self._error:
            raise self._error
        return self.points[name][-1][1]

    def first_seconds(self, name: str, value: float) -> float | None:
        """Return after how many seconds a figure was this high first."""
        return next((at - self.began_at for at, seen in self.points[name] if seen >= value), None)

    def save(self, path: Path, **facts: Any) -> None:
        """Write it as an SVG and, with these facts of it, as JSON beside it."""
        panels = [
            Panel("Workers", "short", [(name, self.points[name]) for name in ("wanted", "ready")]),
            Panel("Jobs", "short", [(name, self.points[name]) for name in ("waiting", "running")]),
            Panel("Percent of the target", "short", [(name, self.points[name]) for name in self._metrics()]),
        ]
        path.with_suffix(".svg").write_text(drawing(panels, start=self.began_at, end=time.time()))
        path.with_suffix(".json").write_text(json.dumps(facts | {"began_at": self.began_at, "points": self.points}))


def _percent(wanted: Any, seen: Sequence[Any]) -> tuple[str, float]:
    """Return a metric's name here, and its value in percent of its target; 0 as long as none is known."""
    source = wanted["type"].lower()
    name = _name(wanted[source])
    now = [one[source]["current"] for one in seen if one["type"] == wanted["type"] and _name(one[source]) == name]
    key, value = _target(wanted[source])
    share = _number(now[0][key]) / _number(value) if now and key in now[0] else 0.0
    return METRICS_BY_NAME[name], 100 * share


def _target(metric: Any) -> tuple[str, str]:
    """Return by what an autoscaler compares, `averageUtilization` for example, and with what."""
    [(key, value)] = {key: value for key, value in metric["target"].items() if key != "type"}.items()
    return key, str(value)


def _name(metric: Any) -> str:
    return str(metric.get("name") or metric["metric"]["name"])


def _number(quantity: Any) -> float:
    """Return the number of a Kubernetes quantity."""
    text = str(quantity)
    return float(text[:-1]) * SUFFIXES[text[-1]] if text[-1] in SUFFIXES else float(text)


@contextmanager
def followed(installation: Installation) -> Iterator[Timeline]:
    """Look at it all the time while this goes on."""
    timeline, ends = Timeline(installation), threading.Event()
    thread = threading.Thread(target=timeline.follow, args=[ends])
    thread.start()
    try:
        yield timeline
    finally:
        ends.set()
        thread.join()
