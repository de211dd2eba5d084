"""One worker, five, and one again under a burst, as the base has it, on a real autoscaler; every job is accounted for.

HOOKLINE_TEST_PICTURES names a folder for the pictures.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import Installation, load_images, running_installation
from tests.cluster.timeline import Timeline, followed
from tests.image.containers import WHY_NOT
from tests.support.processes import wait_until

pytestmark = [pytest.mark.timeout(3600), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
BURST = int(os.environ.get("HOOKLINE_TEST_BURST") or 30_000)
MOST_WORKERS = 5


@pytest.fixture
def installation(cluster: Cluster) -> Iterator[Installation]:
    load_images(cluster)
    with running_installation(cluster) as installed:
        installed.apply(installed.render())
        installed.wait_for_rollout()
        installed.wait_for_metrics()
        yield installed


def test_a_burst_of_handlers_that_compute_scales_up_and_down_and_loses_cuts_off_and_spends_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    with followed(installation) as timeline:
        installation.send_many(BURST, "compute", seconds=0.01)
        installation.wait_until_drained(seconds=600)
        wait_until(lambda: timeline.last("wanted") == 1, what="one worker again", seconds=900)
        installation.wait_until_settled()
    tell(timeline)
    timeline.draw(Path(os.environ.get("HOOKLINE_TEST_PICTURES") or tmp_path, "autoscaling-cpu.svg"))

    assert timeline.highest("wanted") == MOST_WORKERS
    assert installation.states() == {"succeeded": BURST}
    assert installation.rows("SELECT DISTINCT outcome FROM webhooks_attempt") == [("succeeded",)]
    spent = "SELECT DISTINCT attempt - budget_from_attempt, forgiven, lost FROM webhooks_job"
    assert installation.rows(spent) == [(1, 0, 0)]


def tell(timeline: Timeline) -> None:
    """Print when there were how many workers, and how many jobs waited at most."""
    reached = {count: timeline.first_seconds("ready", count) for count in range(2, MOST_WORKERS + 1)}
    print("\n" + ", ".join(f"{count} ready after {at:.0f} s" for count, at in reached.items() if at is not None))
    print(f"{timeline.highest('waiting'):,.0f} jobs waited at most")
