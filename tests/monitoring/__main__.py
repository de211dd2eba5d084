"""`python -m tests.monitoring`: draw the dashboard's panels from a real Prometheus. The package says how."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.monitoring.load import load
from tests.monitoring.prometheus import Points, Prometheus, jobs_of, running_prometheus
from tests.support.github.log import Hook
from tests.support.monitoring import dashboard
from tests.support.scrapes import scraped_reconciler, scraped_stack
from tests.support.services import PROGRAMS
from workers.capacity.drawing import Panel, drawing

STEP_SECONDS = 5.0
MISSED = 25


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=420.0)
    parser.add_argument("--output", type=Path, default=Path("docs/images/dashboard-queries.svg"))
    options = parser.parse_args()
    if PROGRAMS["prometheus"] is None:
        print("prometheus is not installed; Debian's package of that name has it.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="hookline-monitoring-") as directory:
        panels, start, end = observed(Path(directory), seconds=options.seconds)
    options.output.write_text(drawing(panels, start=start, end=end))
    empty = [panel.title for panel in panels if not any(points for _, points in panel.lines)]
    print(f"{len(panels)} panels, of which empty: {', '.join(empty) or 'none'}; written to {options.output}")
    return 1 if empty else 0


def observed(directory: Path, *, seconds: float) -> tuple[list[Panel], float, float]:
    """Return the panels after a load of so many seconds, and between which moments that was."""
    with (
        scraped_stack(directory) as scraped,
        scraped_reconciler(scraped) as hook,
        running_prometheus(directory, jobs_of(scraped.ports), seconds=2) as prometheus,
    ):
        start = time.time()
        with load(scraped, pause_seconds=1.0):
            fail_in_the_middle(hook, seconds)
        end = time.time()
        panels = [
            Panel(panel["title"], panel["fieldConfig"]["defaults"]["unit"], list(lines(prometheus, panel, start, end)))
            for panel in dashboard()["panels"]
        ]
    return panels, start, end


def fail_in_the_middle(hook: Hook, seconds: float) -> None:
    """Let half of the time pass, have some deliveries reach nobody, and let the other half pass."""
    time.sleep(seconds / 2)
    for _ in range(MISSED):
        hook.add("push", {"repository": {"full_name": "acme/widgets"}})
    time.sleep(seconds / 2)


def lines(prometheus: Prometheus, panel: Mapping[str, Any], start: float, end: float) -> Iterator[tuple[str, Points]]:
    """Yield each line of a panel, by what its legend says."""
    for target in panel["targets"]:
        for series in prometheus.over(target["expr"], start=start, end=end, step=STEP_SECONDS):
            name = target["legendFormat"]
            for label, value in series.labels.items():
                name = name.replace(f"{{{{{label}}}}}", value)
            yield name, series.points


if __name__ == "__main__":
    sys.exit(main())
