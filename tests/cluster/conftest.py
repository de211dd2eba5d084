"""One cluster for all of these tests, started once; without its programs, one line says why they are skipped."""

from collections.abc import Iterator

import pytest

from tests.cluster import programs
from tests.cluster.cluster import Cluster, running_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := programs.why_not():
        skipped = pytest.mark.skip(reason=f"not run for want of a service: {reason}")
        for item in items:
            if item.path.parent.name == "cluster":
                item.add_marker(skipped)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started
