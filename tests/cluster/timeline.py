"""What an autoscaler does over time: replicas, backlog and CPU, looked at every other second, and drawn."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.installation import NAMESPACE, Installation
from workers.capacity.drawing import Panel, drawing

EVERY_SECONDS = 2.0


class Timeline:
    """Figures by their names, each with the moments at which it was looked at."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.began_at = time.time()
        self.points: dict[str, list[tuple[float, float]]] = {}

    def look(self) -> None:
        """Look at everything once."""
        deployment = self._get("deployment")
        states = self._installation.states()
        found = {
            "wanted": deployment["spec"]["replicas"],
            "ready": deployment["status"].get("readyReplicas", 0),
            "waiting": states.get("queued", 0) + states.get("retrying", 0),
            "running": states.get("running", 0),
            "CPU, percent of the request": self._utilization(),
        }
        now = time.time()
        for name, value in found.items():
            self.points.setdefault(name, []).append((now, float(value)))

    def _get(self, kind: str) -> Any:
        return self._installation.cluster.get(kind, "worker", f"--namespace={NAMESPACE}")

    def _utilization(self) -> float:
        """Return what the autoscaler has seen last of the workers' CPU."""
        metrics = self._get("horizontalpodautoscaler")["status"].get("currentMetrics") or ()
        seen = [one["resource"]["current"].get("averageUtilization", 0) for one in metrics if one["type"] == "Resource"]
        return float(seen[0]) if seen else 0.0

    def follow(self, ends: threading.Event) -> None:
        while not ends.wait(EVERY_SECONDS):
            self.look()

    def highest(self, name: str) -> float:
        return max(value for _, value in self.points[name])

    def last(self, name: str) -> float:
        return self.points[name][-1][1]

    def first_seconds(self, name: str, value: float) -> float | None:
        """Return after how many seconds a figure was this high first."""
        return next((at - self.began_at for at, seen in self.points[name] if seen >= value), None)

    def draw(self, path: Path) -> None:
        """Draw it as an SVG."""
        panels = [
            Panel("Workers", "short", [(name, self.points[name]) for name in ("wanted", "ready")]),
            Panel("Jobs", "short", [(name, self.points[name]) for name in ("waiting", "running")]),
            Panel(
                "What the autoscaler sees",
                "short",
                [(name, self.points[name]) for name in self.points if "CPU" in name],
            ),
        ]
        path.write_text(drawing(panels, start=self.began_at, end=time.time()))


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
