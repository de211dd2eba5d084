"""Every panel of the dashboard shows something on a real Prometheus that scrapes real processes under a small load."""

from pathlib import Path

import pytest

from tests.monitoring.load import load
from tests.monitoring.prometheus import jobs_of, running_prometheus
from tests.support.monitoring import panels
from tests.support.processes import wait_until
from tests.support.scrapes import scraped_reconciler, scraped_stack


@pytest.mark.prometheus
def test_every_panel_has_data_in_each_of_its_queries(tmp_path: Path) -> None:
    with (
        scraped_stack(tmp_path) as scraped,
        scraped_reconciler(scraped),
        running_prometheus(tmp_path, jobs_of(scraped.ports)) as prometheus,
    ):
        queries = [(title, query) for title, asked in panels().items() for query in asked]
        assert len(queries) > 20

        def empty() -> list[tuple[str, str]]:
            found = {query: prometheus.now(query) for _, query in queries}
            return [(title, query) for title, query in queries if not any(one.points for one in found[query])]

        with load(scraped, pause_seconds=0.2):
            wait_until(lambda: not empty(), what="each panel to have data")
