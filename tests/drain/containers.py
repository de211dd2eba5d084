"""The drain on real containers: the worker's rendered manifest as pods of eight consumers, stopped one after the other.

Runs where podman and an image are, on the PostgreSQL and RabbitMQ of the tests; `make image` makes the image.
"""

import random
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.drain.drains import CONSUMERS
from tests.drain.pod import CUT_OFF, Ending, Stop, judge
from tests.drain.report import BEYOND_SECONDS, Report, Totals, faults_of_all, faults_of_stops
from tests.image.containers import IMAGE, WHY_NOT, Installation, running_installation
from tests.image.pods import running_pod
from tests.support.processes import wait_until

BACKLOG = 400
SLOW_SHARE = 0.25


def run(*, stops: int, draw: random.Random) -> Report:
    report = Report(name="pods, 20 ms and 3 s", broker="rabbitmq", consumers=CONSUMERS, not_run=why_not())
    if report.not_run:
        return report
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="hookline-drain-") as name,
        running_installation(Path(name)) as installation,
    ):
        slow = int(BACKLOG * SLOW_SHARE)
        installation.send_many(slow, "work", seconds=3)
        installation.send_many(BACKLOG - slow, "work", seconds=0.02)
        report.stops = [stop_one(installation, draw) for _ in range(stops)]
        report.totals = finish(installation)
    report.failures += faults_of_stops(report.stops, beyond_seconds=BEYOND_SECONDS) + faults_of_all(report.totals)
    report.seconds = time.monotonic() - began
    return report


def why_not() -> str:
    """Return why no pod can be run here; empty if one can."""
    if WHY_NOT:
        return WHY_NOT
    is_there = subprocess.run(["podman", "image", "exists", IMAGE], check=False).returncode == 0
    return "" if is_there else f"there is no image {IMAGE}; make image makes it"


def stop_one(installation: Installation, draw: random.Random) -> Stop:
    """Start a pod, wait until all its consumers run a job, and stop it at a moment drawn by chance."""
    started_at = datetime.now(UTC)
    condition = f"started_at > '{started_at.isoformat()}'"
    with running_pod(installation, HOOKLINE_WORKER_CONCURRENCY=CONSUMERS) as pod:
        # The last consumer to begin has one job, and all others have one ahead.
        going_on = f"SELECT count(*) >= {2 * CONSUMERS - 1} FROM webhooks_job WHERE state = 'running'"
        wait_until(lambda: installation.rows(going_on) == [(True,)], what="the pod to be at work")
        time.sleep(draw.uniform(0.0, 0.5))
        asked_at = datetime.now(UTC)
        status = pod.stop()
        gone_at = pod.container.finished_at
        was_killed = (gone_at - asked_at).total_seconds() >= pod.grace_seconds
        ending = Ending(asked_at=asked_at, gone_at=gone_at, status=status, was_killed=was_killed)
        return judge(ending, installation.rows, attempts=condition, claims="state = 'running'")


def finish(installation: Installation) -> Totals:
    """Have a last pod do what is left."""
    with running_pod(installation, HOOKLINE_WORKER_CONCURRENCY=2 * CONSUMERS) as pod:
        left = "SELECT count(*) FROM webhooks_job WHERE state IN ('queued', 'running', 'retrying')"
        wait_until(lambda: installation.rows(left) == [(0,)], seconds=300, what="every job to be final")
        pod.stop()
    ((jobs, succeeded, spent),) = installation.rows(
        "SELECT count(*), count(*) FILTER (WHERE state = 'succeeded'), "
        " coalesce(sum(attempt - budget_from_attempt - forgiven - 1), 0) FROM webhooks_job"
    )
    ((run_twice,),) = installation.rows(
        "SELECT count(*) FROM (SELECT job_id FROM webhooks_attempt WHERE outcome <> 'handed_back'"
        " GROUP BY job_id HAVING count(*) > 1) AS repeated"
    )
    ((cut_off,),) = installation.rows(CUT_OFF)
    return Totals(jobs=jobs, lost=BACKLOG - succeeded, run_twice=run_twice, cut_off=cut_off, spent=spent)
