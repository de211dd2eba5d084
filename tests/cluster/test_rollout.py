"""A new image and back again, while deliveries come and jobs run: nobody is refused, and no job is interrupted."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import TAGS, Installation, installed
from tests.cluster.traffic import steady_traffic
from tests.image.containers import WHY_NOT

pytestmark = [pytest.mark.timeout(1800), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
CHILDREN = {"HOOKLINE_WORKER_CONCURRENCY": "16"}


@pytest.fixture(scope="module")
def installation(cluster: Cluster) -> Iterator[Installation]:
    with installed(cluster, settings=CHILDREN) as there:
        yield there


def test_a_rollout_and_its_way_back_refuse_no_delivery_and_interrupt_no_job(installation: Installation) -> None:
    with steady_traffic(installation, a_second=10) as traffic:
        for tag in (TAGS[1], TAGS[0]):
            installation.apply(installation.render(tag=tag, settings=CHILDREN))
            installation.wait_for_rollout()
            installation.wait_until_settled()
    installation.wait_until_drained()

    print(f"\n{dict(traffic.answers)}, the longest gap {traffic.longest_gap_seconds:.2f} s")
    assert traffic.answers.keys() == {202}
    installation.assert_all_succeeded(traffic.answers[202])
