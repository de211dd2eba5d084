"""A burst on a real autoscaler: for handlers that compute, and for handlers that wait, which leave the CPU idle.

However the fleet grows and shrinks, every job is accounted for. HOOKLINE_TEST_PICTURES names a folder for the pictures
and their figures.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.external_metrics import external_metrics
from tests.cluster.installation import Installation, load_images, running_installation
from tests.cluster.timeline import Timeline, followed
from tests.image.containers import WHY_NOT
from tests.support.processes import wait_until

pytestmark = [pytest.mark.timeout(3600), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
COUNT = int(os.environ.get("HOOKLINE_TEST_BURST") or 30_000)
MOST_WORKERS = 5


@dataclass(frozen=True, slots=True)
class Burst:
    """Deliveries for one handler, and by what the workers are scaled."""

    name: str
    action: str
    seconds: float
    """Of the CPU for `compute`, and of waiting for `work`."""
    components: tuple[str, ...] = ()


COMPUTING = Burst("autoscaling-cpu", "compute", 0.01)
WAITING_BY_CPU = Burst("autoscaling-waiting-cpu", "work", 1.0)
WAITING_BY_BACKLOG = Burst("autoscaling-waiting-backlog", "work", 1.0, ("backlog-autoscaling",))


def test_handlers_that_compute_scale_up_to_the_most_and_down_again(cluster: Cluster, tmp_path: Path) -> None:
    assert worked_off(COMPUTING, cluster, tmp_path).highest("wanted") == MOST_WORKERS


def test_handlers_that_wait_scale_by_the_cpu_of_full_workers(cluster: Cluster, tmp_path: Path) -> None:
    assert worked_off(WAITING_BY_CPU, cluster, tmp_path).highest("wanted") == MOST_WORKERS


def test_handlers_that_wait_scale_by_the_backlog_up_to_the_most_and_down_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert worked_off(WAITING_BY_BACKLOG, cluster, tmp_path).highest("wanted") == MOST_WORKERS


def worked_off(burst: Burst, cluster: Cluster, directory: Path) -> Timeline:
    """Have a burst worked off until one worker is left; nothing was lost or cut off, and no attempt spent."""
    with installed(burst, cluster, directory) as installation, followed(installation) as timeline:
        installation.send_many(COUNT, burst.action, seconds=burst.seconds)
        sent_at = timeline.seconds()
        installation.wait_until_drained(seconds=1500)
        drained_at = timeline.seconds()
        wait_until(lambda: timeline.last("wanted") == 1, what="one worker again", seconds=900)
        installation.wait_until_settled()
        print(f"\n{burst.name}: sent after {sent_at:.0f} s, worked off after {drained_at:.0f} s")
        tell(timeline)
        folder = Path(os.environ.get("HOOKLINE_TEST_PICTURES") or directory)
        facts = {"policy": timeline.policy(), "deliveries": COUNT, "action": burst.action, "seconds": burst.seconds}
        timeline.save(folder / burst.name, sent_at=sent_at, drained_at=drained_at, **facts)

        installation.assert_all_succeeded(COUNT)
        return timeline


@contextmanager
def installed(burst: Burst, cluster: Cluster, directory: Path) -> Iterator[Installation]:
    """Have it installed, with one worker."""
    load_images(cluster)
    with ExitStack() as stack:
        installation = stack.enter_context(running_installation(cluster))
        installation.apply(installation.render(components=burst.components))
        installation.wait_for_rollout()
        installation.wait_for_metrics()
        if "backlog-autoscaling" in burst.components:
            stack.enter_context(external_metrics(installation, directory))
        # The CPU of its own start may have asked for a second one.
        wait_until(lambda: len(installation.pods("worker")) == 1, what="one worker alone", seconds=900)
        yield installation


def tell(timeline: Timeline) -> None:
    """Print when there were how many workers, and how many jobs waited at most."""
    reached = {count: timeline.first_seconds("ready", count) for count in range(2, MOST_WORKERS + 1)}
    print(", ".join(f"{count} ready after {at:.0f} s" for count, at in reached.items() if at is not None))
    print(f"{timeline.highest('waiting'):,.0f} jobs waited at most")
