"""Hookline's base on a real cluster: its pods start, take deliveries in and work them off; what changes, rolls out."""

import base64
import json
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import IMAGE, TAGS, Installation, installed
from tests.image.containers import WHY_NOT

pytestmark = [pytest.mark.timeout(1200), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.fixture(scope="module")
def installation(cluster: Cluster) -> Iterator[Installation]:
    with installed(cluster) as there:
        yield there


def test_deliveries_are_taken_in_and_worked_off(installation: Installation) -> None:
    installation.send_many(200, "work", seconds=0.01)
    installation.wait_until_drained()
    assert installation.states() == {"succeeded": 200}


def test_the_metrics_api_knows_the_cpu_of_every_role(installation: Installation) -> None:
    installation.wait_for_metrics()


def test_a_new_image_is_rolled_out_and_migrates_once(installation: Installation) -> None:
    before = installation.names("jobs")
    installation.apply(installation.render(tag=TAGS[1]))
    installation.wait_for_rollout()
    installation.wait_until_settled()
    assert installation.images() == {f"{IMAGE}:{TAGS[1]}"}
    [job] = installation.names("jobs") - before
    installation.kubectl("wait", "--for=condition=Complete", f"job/{job}", "--timeout=120s")


def test_a_changed_variable_is_rolled_out_without_a_migration(installation: Installation) -> None:
    jobs, maps, pods = (installation.names(kind) for kind in ("jobs", "configmaps", "pods"))
    installation.apply(installation.render(tag=TAGS[1], settings={"HOOKLINE_LOG_LEVEL": "WARNING"}))
    installation.wait_for_rollout()
    installation.wait_until_settled()
    assert installation.names("jobs") == jobs
    assert installation.names("configmaps") > maps  # The old one stays.
    assert not installation.names("pods", "--field-selector=status.phase=Running") & pods


def test_a_changed_secret_is_read_by_the_pods_that_are_started_then(installation: Installation) -> None:
    pods = installation.names("pods", "--field-selector=status.phase=Running")
    installation.secret = "another secret of this test"
    value = base64.b64encode(installation.secret.encode()).decode()
    patch = json.dumps({"data": {"GITHUB_WEBHOOK_SECRETS": value}})
    installation.kubectl("patch", "secret", "hookline-secrets", "--type=merge", f"--patch={patch}")
    assert installation.names("pods", "--field-selector=status.phase=Running") == pods
    assert installation.send(installation.endpoints()[0], "work") == 401
    installation.kubectl("rollout", "restart", "deployment")
    installation.wait_for_rollout()
    installation.wait_until_settled()
    assert installation.send(installation.endpoints()[0], "work") == 202
