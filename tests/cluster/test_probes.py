"""The kubelet's probes in outages, for a worker that stands still and in a slow start: who is restarted, who is not."""

import time
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import ROLES, Installation, installed
from tests.image.containers import WHY_NOT
from tests.support.processes import wait_until

pytestmark = [pytest.mark.timeout(1800), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
CHILDREN = {"HOOKLINE_WORKER_CONCURRENCY": "16"}
OUTAGE_SECONDS = 120
"""Longer than any liveness probe waits, and than HOOKLINE_STALLED_SECONDS."""
SLOW_WORKER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "worker"},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {"name": "worker", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}}}
                ]
            }
        }
    },
}
STAND_STILL = """
import os, pathlib, signal
children = pathlib.Path("/proc/1/task/1/children").read_text().split()
os.kill(int(children[0]), signal.SIGSTOP)
"""


@pytest.fixture(scope="module")
def installation(cluster: Cluster) -> Iterator[Installation]:
    with installed(cluster, settings=CHILDREN) as there:
        yield there


def test_an_outage_of_the_database_restarts_nobody(installation: Installation) -> None:
    """A restart would not bring it back, and a receiver's 503 says more than an ingress's."""
    before = installation.restarts()
    installation.database.stop()
    seen = ready_during_an_outage(installation)
    installation.database.start()
    assert (seen["receiver"], seen["worker"]) == (2, 1)
    assert installation.restarts() == before
    assert_works_again(installation)


def test_an_outage_of_the_broker_restarts_nobody_and_refuses_no_delivery(installation: Installation) -> None:
    before = installation.restarts()
    installation.broker.stop()
    seen = ready_during_an_outage(installation)
    installation.send_many(50, "work")
    installation.broker.start()
    assert (seen["receiver"], seen["worker"]) == (2, 0)
    assert installation.restarts() == before
    assert_works_again(installation)


def test_a_worker_that_stands_still_is_restarted_and_nobody_else(installation: Installation) -> None:
    before, began = installation.restarts(), time.monotonic()
    [pod] = [one["metadata"]["name"] for one in installation.pods("worker")]
    installation.kubectl("exec", pod, "--", "python", "-c", STAND_STILL)
    wait_until(lambda: installation.restarts()[pod] > before[pod], what="the worker's restart", seconds=600)
    print(f"\nrestarted after {time.monotonic() - began:.0f} s")
    assert installation.restarts() == before | {pod: before[pod] + 1}
    assert_works_again(installation)


def test_a_slow_start_of_seventy_children_is_waited_for(installation: Installation) -> None:
    began = time.monotonic()
    installation.apply(installation.render(patches=[SLOW_WORKER]))
    installation.wait_for_rollout("worker", seconds=600)
    ready_at = time.monotonic()
    installation.wait_until_settled()
    print(f"\nready after {ready_at - began:.0f} s with a tenth of a CPU")
    workers = {pod["metadata"]["name"] for pod in installation.pods("worker")}
    assert {installation.restarts()[name] for name in workers} == {0}
    assert_works_again(installation)


def ready_during_an_outage(installation: Installation) -> dict[str, int]:
    """Let the outage last, and return how many pods of each role were ready at its end."""
    time.sleep(OUTAGE_SECONDS)
    found = {role: installation.ready(role) for role in ROLES}
    print(f"\nready in the outage: {found}")
    return found


def assert_works_again(installation: Installation) -> None:
    """Every pod is ready again, without another restart, and deliveries are taken in and worked off."""
    before = installation.restarts()
    wait_until(lambda: all(installation.ready(role) for role in ROLES), what="a pod of each role", seconds=180)
    wait_until(lambda: len(installation.endpoints()) == 2, what="both receivers", seconds=120)
    installation.send_many(50, "work")
    installation.wait_until_drained(seconds=300)
    assert installation.states().keys() == {"succeeded"}
    assert installation.restarts() == before
