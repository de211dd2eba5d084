"""A node that is drained, a pod that is killed, a node that goes silent: what is cut off, and when it runs again."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import datetime

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import ROLES, Installation, load_images, running_installation
from tests.cluster.traffic import steady_traffic
from tests.image.containers import WHY_NOT
from tests.support.kubernetes import Document
from tests.support.processes import wait_until

pytestmark = [pytest.mark.timeout(1800), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
CHILDREN = 16
TWO_WORKERS = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "worker"},
    "spec": {"minReplicas": 2},
}
LONGEST_WAIT = """
    SELECT max(extract(epoch FROM webhooks_attempt.started_at - webhooks_job.created_at))
    FROM webhooks_attempt JOIN webhooks_job ON webhooks_job.id = job_id
"""
Leases = Mapping[int, datetime]
"""Until when each of these jobs belonged to its worker."""


@pytest.fixture
def installation(cluster: Cluster) -> Iterator[Installation]:
    """What each test applies itself, when nodes are as it wants."""
    load_images(cluster)
    with running_installation(cluster) as installed:
        yield installed


def test_a_drain_of_the_node_with_every_pod_refuses_no_delivery_and_interrupts_no_job(
    cluster: Cluster, installation: Installation
) -> None:
    full, empty = cluster.nodes
    with cordoned(cluster, empty.name):
        start(installation)
    assert nodes_in_use(installation) == {full.name}
    with steady_traffic(installation, a_second=10) as traffic, cordoned(cluster, full.name):
        installation.wait_until_running(10)
        began = time.monotonic()
        cluster.kubectl("drain", full.name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=280s")
        took = time.monotonic() - began
        installation.wait_for_rollout()
        assert nodes_in_use(installation) == {empty.name}
    installation.wait_until_drained()

    [(waited,)] = installation.rows(LONGEST_WAIT)
    print(f"\ndrained after {took:.0f} s; {dict(traffic.answers)}, the longest gap {traffic.longest_gap_seconds:.2f} s")
    print(f"a job waited {waited:.0f} s at most")
    assert traffic.answers.keys() == {202}
    installation.assert_all_succeeded(traffic.answers[202])


def test_jobs_of_a_worker_that_is_killed_run_again_when_their_leases_are_over(installation: Installation) -> None:
    start(installation)
    installation.send_many(CHILDREN, "work-briefly", seconds=5)
    installation.wait_until_running(CHILDREN)
    [pod] = installation.pods("worker")
    leases, began = leases_of(installation, pod["metadata"]["name"]), time.time()
    installation.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    installation.wait_until_drained(seconds=300)
    assert len(leases) == CHILDREN
    assert_run_again_after_their_leases(installation, leases, lost_at=began)


def test_jobs_of_a_node_that_goes_silent_run_elsewhere_when_their_leases_are_over(
    cluster: Cluster, installation: Installation
) -> None:
    start(installation, TWO_WORKERS)
    silent, other = cluster.nodes
    [pod] = [one for one in installation.pods("worker") if one["spec"]["nodeName"] == silent.name]
    installation.send_many(2 * CHILDREN, "work-briefly", seconds=5)
    installation.wait_until_running(2 * CHILDREN)
    with silent.cut_off():
        leases, began = leases_of(installation, pod["metadata"]["name"]), time.time()
        installation.wait_until_drained(seconds=300)
        assert len(leases) == CHILDREN
        assert_run_again_after_their_leases(installation, leases, lost_at=began)
        wait_until(
            lambda: installation.nodes_of("worker").count(other.name) == 2, what="another worker there", seconds=600
        )
        print(f"another worker was started after {time.time() - began:.0f} s")
    # The node is back. What its runs had to say meanwhile is of no use any more.
    cluster.wait_until_nodes_are_ready()
    installation.wait_until_settled()
    assert_run_again_after_their_leases(installation, leases, lost_at=began)


def start(installation: Installation, *patches: Document) -> None:
    settings = {"HOOKLINE_WORKER_CONCURRENCY": str(CHILDREN)}
    installation.apply(installation.render(settings=settings, patches=patches))
    installation.wait_for_rollout()
    count = 2 if TWO_WORKERS in patches else 1
    wait_until(lambda: installation.ready("worker") == count, what=f"{count} workers", seconds=600)


def nodes_in_use(installation: Installation) -> set[str]:
    return {node for role in ROLES for node in installation.nodes_of(role)}


@contextlib.contextmanager
def cordoned(cluster: Cluster, node: str) -> Iterator[None]:
    """Let no pod be placed on a node."""
    cluster.kubectl("cordon", node)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", node)


def leases_of(installation: Installation, pod: str) -> Leases:
    """Return what runs in a pod."""
    running = "SELECT id, lease_until FROM webhooks_job WHERE state = 'running' AND worker LIKE"
    return dict(installation.rows(f"{running} '%@{pod}'"))


def assert_run_again_after_their_leases(installation: Installation, leases: Leases, *, lost_at: float) -> None:
    """All jobs have succeeded; these were lost once, and ran again when they belonged to nobody any more."""
    assert installation.states().keys() == {"succeeded"}
    lost = dict(installation.rows("SELECT id, lost FROM webhooks_job WHERE lost > 0"))
    assert lost == dict.fromkeys(leases, 1)
    assert installation.rows("SELECT DISTINCT attempt - budget_from_attempt - lost FROM webhooks_job") == [(1,)]
    again = dict(
        installation.rows("SELECT job_id, started_at FROM webhooks_attempt WHERE outcome = 'succeeded'"),
    )
    assert all(again[job] > until for job, until in leases.items())
    after = sorted(again[job].timestamp() - lost_at for job in leases)
    late = max((again[job] - until).total_seconds() for job, until in leases.items())
    print(f"\nthey ran again {after[0]:.0f} to {after[-1]:.0f} s later, {late:.1f} s after the lease's end at most")
