"""The worker's rendered manifest as a pod of real containers: what a stop in the middle of a backlog does.

`make image-test` runs this. Without podman, kubectl or an image it is skipped.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.image.containers import WHY_NOT, Installation, running_installation
from tests.image.pods import Drain, Pod, running_pod
from tests.support.processes import wait_until

pytestmark = [
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="not run for want of a service: kubectl"),
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
]
CONSUMERS = 8


@pytest.fixture(params=["rabbitmq", pytest.param("redis", marks=pytest.mark.redis)])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running_installation(tmp_path_factory.mktemp("pods"), broker=request.param) as installation:
        yield installation


def stopped(pod: Pod, *, grace_seconds: int = 0) -> Drain:
    stopped_at = datetime.now(UTC)
    return Drain.of(pod, stopped_at=stopped_at, exit_status=pod.stop(grace_seconds=grace_seconds))


@pytest.mark.parametrize(
    ("handler_seconds", "backlog", "done_before_the_stop"), [(0.02, 600, 100), (3.0, 24, 0)], ids=["20 ms", "3 s"]
)
def test_a_pod_that_is_stopped_in_mid_backlog_cuts_nothing_off_and_loses_nothing(
    installation: Installation, handler_seconds: float, backlog: int, done_before_the_stop: int
) -> None:
    installation.send_many(backlog, "work", seconds=handler_seconds)
    with running_pod(installation) as pod:
        if done_before_the_stop:
            wait_until(
                lambda: installation.count("succeeded", handler="acme.work") >= done_before_the_stop,
                what="a part of the backlog to be done",
            )
        else:
            wait_until(
                lambda: installation.count("running", handler="acme.work") >= CONSUMERS,
                what="a job for each consumer to be claimed",
            )
        drain = stopped(pod)
    print(f"\n{CONSUMERS} consumers, handlers of {handler_seconds:g} s: {drain}")
    assert (drain.exit_status, drain.still_running, drain.cut_off) == (0, 0, 0)
    assert installation.count("queued", handler="acme.work") > 0
    assert drain.took_seconds < pod.grace_seconds

    with running_pod(installation):
        installation.wait_for("succeeded", jobs=backlog, handler="acme.work")
    # What was claimed and not begun has a second attempt, but has spent none.
    spent = "SELECT attempt - budget_from_attempt, forgiven, lost FROM webhooks_job GROUP BY 1, 2, 3"
    assert installation.rows(spent) == [(1, 0, 0)]


def test_a_pod_is_ready_once_it_consumes_and_alive_but_not_ready_while_it_stops(installation: Installation) -> None:
    installation.send("work", seconds=4)
    with running_pod(installation) as pod:
        wait_until(lambda: installation.answers("/readyz", port=pod.probe_port), what="the worker to be ready")
        installation.wait_for("running", jobs=1, handler="acme.work")
        installation.podman("kill", "--signal", "TERM", pod.container.name)
        wait_until(lambda: installation.status("/readyz", port=pod.probe_port) == 503, what="it to be ready no more")
        assert installation.answers("/livez", port=pod.probe_port)
        assert installation.count("running", handler="acme.work") == 1
        installation.wait_for("succeeded", jobs=1, handler="acme.work")


def test_what_cannot_end_within_the_grace_is_handed_back_before_the_kill(installation: Installation) -> None:
    installation.send("work", seconds=25)
    with running_pod(installation, HOOKLINE_GRACE_SECONDS=6) as pod:
        installation.wait_for("running", jobs=1, handler="acme.work")
        drain = stopped(pod, grace_seconds=10)
    print(f"\n6 s of grace, a handler of 25 s: {drain}")
    # A killed one would say 137, and its job would still be running.
    assert (drain.exit_status, drain.still_running) == (0, 0)
    assert installation.rows("SELECT state, attempt - budget_from_attempt, forgiven, lost FROM webhooks_job") == [
        ("retrying", 1, 1, 0)
    ]


def test_a_job_whose_pod_is_killed_at_the_end_of_its_grace_runs_again_once_its_lease_is_over(
    installation: Installation,
) -> None:
    installation.send("work-briefly", seconds=4)
    with running_pod(installation, HOOKLINE_LEASE_MARGIN_SECONDS=1) as pod:
        installation.wait_for("running", jobs=1, handler="acme.work_briefly")
        assert pod.stop(grace_seconds=1) == 137
    assert installation.count("running", handler="acme.work_briefly") == 1
    with running_pod(installation, HOOKLINE_LEASE_MARGIN_SECONDS=1):
        installation.wait_for("succeeded", jobs=1, handler="acme.work_briefly")
    assert installation.rows("SELECT attempt - budget_from_attempt, forgiven, lost FROM webhooks_job") == [(2, 0, 1)]


def test_a_worker_that_has_reached_its_lifetime_exits_and_its_pod_starts_it_afresh(installation: Installation) -> None:
    with running_pod(installation, HOOKLINE_WORKER_MAX_SECONDS=5) as pod:
        wait_until(lambda: pod.container.restarts, what="the container to be started afresh")
        installation.send("work")
        installation.wait_for("succeeded", jobs=1, handler="acme.work")
