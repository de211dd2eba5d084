"""Every /metrics of real processes: documented, well named, and bounded whatever is sent."""

import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from prometheus_client import Metric

from tests.support.monitoring import METRIC, queries
from tests.support.processes import ROOT, wait_until
from tests.support.scrapes import Scraped, Sending, Series, scraped_stack
from tests.support.services import PROGRAMS
from webhooks.github.event_names import EVENT_NAMES
from webhooks.receiver import measures
from webhooks.states import AttemptOutcome

ROLES = ("receiver", "relay", "worker")
CLIENT_PREFIXES = ("process_", "python_")
"""Of the client library's own metrics."""
OF_EACH_KIND = [
    *(Sending(action=action) for action in ("work", "fail-once", "give-up")),
    Sending(event="push"),
    Sending(event="made_up"),
    Sending(event="push", secret="not the secret of this receiver"),
    Sending(event="made_up", secret="not the secret of this receiver"),
]
READ_A_LOG = "INSERT INTO webhooks_hooklog (source, hook, holder) VALUES ('github', 'app', '') RETURNING id"
"""As a reconciler does that has read GitHub's log: else its age is not in the metrics."""
REPOSITORIES, MADE_UP_EVENTS = 1_000, 300
UNAVAILABLE = "unavailable"
ROW = re.compile(r"^\| `(hookline_[a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\| \S.*\|$", re.MULTILINE)


MAKE_A_DESTINATION = """
from webhooks.inbox.destinations.changing import Secrets, create
create("calm", {"events": ["release"], "url": "https://calm.example.com"}, Secrets(), who="ana")
"""
ONCE_CALLED = {"hookline_worker_runs_put_off_total", "hookline_worker_api_remaining"}
"""Without a sample until a handler has called GitHub's API: tests/assistant/ reads them."""


class Documented(NamedTuple):
    """A metric as docs/metrics.md has it."""

    role: str
    name: str
    kind: str
    labels: frozenset[str]


def documented() -> set[Documented]:
    sections = re.split(r"^## (.+)$", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE)[1:]
    return {
        Documented(role.lower(), name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for role, text in zip(sections[::2], sections[1::2], strict=True)
        for name, kind, labels in ROW.findall(text)
    }


class Scrapes(NamedTuple):
    """What the processes answered after a few deliveries of each kind, and after many of them."""

    few: dict[str, Series]
    many: dict[str, Series]
    families: dict[str, dict[str, Metric]]
    texts: dict[str, str]
    statuses: list[int]


@pytest.fixture(scope="module")
def scrapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrapes]:
    # A source without a secret, since a secret that never ends is not in the metrics.
    with scraped_stack(tmp_path_factory.mktemp("scrapes"), HOOKLINE_SOURCES="github,ghes") as scraped:
        scraped.stack.rows(READ_A_LOG)
        scraped.stack.manage("pause", "handler", "trial.hoard", "--reason", "so that it is in the metrics")
        scraped.stack.manage("shell", "-c", MAKE_A_DESTINATION)
        scraped.send(OF_EACH_KIND)
        wait_until_all_is_counted(scraped, jobs=3)
        few = {role: scraped.series(role) for role in ROLES}
        statuses = scraped.send(
            [
                *(Sending(number=number) for number in range(REPOSITORIES)),
                *(Sending(event=f"made_up_{number}") for number in range(MADE_UP_EVENTS)),
            ]
        )
        wait_until_all_is_counted(scraped, jobs=3 + REPOSITORIES)
        many = {role: scraped.series(role) for role in ROLES}
        texts = {role: scraped.text(role) for role in ROLES}
        yield Scrapes(few, many, {role: scraped.families(role) for role in ROLES}, texts, statuses)


def wait_until_all_is_counted(scraped: Scraped, *, jobs: int) -> None:
    """Wait until the worker has counted so many jobs, and the relay has read the inbox after that."""

    def ended() -> bool:
        family = scraped.families("worker")["hookline_worker_jobs_ended_total"]
        return sum(sample.value for sample in family.samples) == jobs

    scraped.stack.wait_until_drained(seconds=180)
    wait_until(ended, what=f"{jobs} jobs to be counted")
    gauges = ("hookline_dead_jobs", "hookline_queue_waiting_jobs")

    def read() -> bool:
        families = scraped.families("relay")
        dead, waiting = (sum(sample.value for sample in families[name].samples) for name in gauges)
        return (dead, waiting) == (1, 0)

    wait_until(read, what="the relay to read the inbox")


def but_for_those_sent_again(series: Series) -> Series:
    """Return the series without those of a delivery that was sent again: only a busy machine has them."""
    of_those = {("result", result) for result in (UNAVAILABLE, measures.DUPLICATE)}
    return frozenset((name, labels) for name, labels in series if not of_those.intersection(labels))


def ours(families: dict[str, Metric]) -> dict[str, Metric]:
    return {name: family for name, family in families.items() if not name.startswith(CLIENT_PREFIXES)}


@pytest.mark.parametrize("role", ROLES)
def test_the_page_on_metrics_lists_what_a_process_answers_with_its_type_and_labels(scrapes: Scrapes, role: str) -> None:
    found = set()
    for name, family in ours(scrapes.families[role]).items():
        if name in ONCE_CALLED:
            continue
        assert family.samples, f"{name} has no sample, so that its labels are not seen"
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found.add(Documented(role, name, family.type, frozenset(labels)))
    assert found == {one for one in documented() if one.role == role and one.name not in ONCE_CALLED}


def test_the_page_on_metrics_lists_each_result_of_a_delivery() -> None:
    results = re.findall(r"^\| `(\w+)` \| [\d, none]+ \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert sorted(results) == sorted({*measures.RESULTS.values(), measures.REFUSED})


@pytest.mark.parametrize("role", ROLES)
def test_every_name_is_hooklines_with_a_base_unit_and_says_what_it_is(scrapes: Scrapes, role: str) -> None:
    families = scrapes.families[role]
    assert any(name.startswith("hookline_") for name in families)
    for name, family in families.items():
        assert name.startswith(("hookline_", *CLIENT_PREFIXES)), name
        assert family.documentation.strip(), name
        assert family.type in ("counter", "gauge", "histogram"), name
        if family.type == "histogram":
            assert name.endswith("_seconds"), name
        assert not set(name.split("_")) & {"ms", "milliseconds", "minutes", "hours", "kb", "mb", "percent"}, name


@pytest.mark.promtool
@pytest.mark.parametrize("role", ROLES)
def test_promtool_finds_no_fault_in_a_scrape(scrapes: Scrapes, role: str) -> None:
    command = [PROGRAMS["promtool"] or "", "check", "metrics"]
    checked = subprocess.run(command, input=scrapes.texts[role], capture_output=True, text=True, check=False)
    # That of the client library's process_… and python_… alone: these names are the same in every program.
    faults = [line for line in (checked.stdout + checked.stderr).splitlines() if not line.startswith(CLIENT_PREFIXES)]
    assert faults == []


@pytest.mark.parametrize("role", ROLES)
def test_no_series_is_added_by_1000_repositories_and_300_made_up_events(scrapes: Scrapes, role: str) -> None:
    assert len(scrapes.statuses) == REPOSITORIES + MADE_UP_EVENTS
    assert set(scrapes.statuses) <= {200, 202}
    assert but_for_those_sent_again(scrapes.many[role]) == but_for_those_sent_again(scrapes.few[role])


def test_every_value_of_a_label_is_one_of_a_known_set(scrapes: Scrapes) -> None:
    known = {
        "event": EVENT_NAMES | {measures.OTHER},
        "result": {*measures.RESULTS.values(), measures.REFUSED},
        "reason": {"broker", "full", "window"},
        "of": {"broker", "database"},
        "source": {"github", "ghes"},
        "queue": {"default", "trial"},
        "outcome": set(AttemptOutcome.values),
        "state": {"succeeded", "dead"},
        "handler": {"trial.work", "trial.fail_once", "trial.give_up", "trial.hoard", "forward.calm"},
        "destination": {"calm"},
    }
    found: dict[str, set[str]] = {}
    for role in ROLES:
        for family in ours(scrapes.families[role]).values():
            for sample in family.samples:
                for label, value in sample.labels.items():
                    found.setdefault(label, set()).add(value)
    assert found.keys() - {"le"} == known.keys()
    assert {label: values - known[label] for label, values in found.items() if label != "le"} == {
        label: set() for label in known
    }


def test_deliveries_are_counted_by_event_and_result_and_those_taken_in_are_timed(scrapes: Scrapes) -> None:
    families = scrapes.families["receiver"]
    counted: dict[tuple[str, str], float] = {}
    for sample in families["hookline_receiver_deliveries_total"].samples:
        event, result = sample.labels["event"], sample.labels["result"]
        if result != UNAVAILABLE:  # It came again, and may then have been stored the first time after all.
            key = event, measures.STORED if result == measures.DUPLICATE else result
            counted[key] = counted.get(key, 0) + sample.value
    assert counted == {
        ("repository_dispatch", "stored"): 3 + REPOSITORIES,
        ("push", "stored"): 1,
        ("push", "unsigned"): 1,
        ("other", "stored"): 1 + MADE_UP_EVENTS,
        ("other", "unsigned"): 1,
    }
    timed = families["hookline_receiver_acknowledgement_seconds"].samples
    [count] = [sample.value for sample in timed if sample.name.endswith("_count")]
    assert count == 5 + REPOSITORIES + MADE_UP_EVENTS


def test_jobs_runs_and_waits_are_counted_by_handler_and_queue(scrapes: Scrapes) -> None:
    families = scrapes.families["worker"]

    def values(name: str, *, suffix: str) -> dict[tuple[str, ...], float]:
        samples = [sample for sample in families[name].samples if sample.name == name + suffix]
        return {tuple(sample.labels.values()): sample.value for sample in samples}

    assert values("hookline_worker_jobs_ended_total", suffix="") == {
        ("trial.work", "succeeded"): 1 + REPOSITORIES,
        ("trial.fail_once", "succeeded"): 1,
        ("trial.give_up", "dead"): 1,
    }
    assert values("hookline_worker_run_seconds", suffix="_count") == {
        ("trial.work",): 1 + REPOSITORIES,
        ("trial.fail_once",): 2,
        ("trial.give_up",): 1,
    }
    assert values("hookline_worker_wait_seconds", suffix="_count") == {("trial",): 4 + REPOSITORIES}


def test_every_query_of_alerts_and_dashboard_names_metrics_that_processes_answer(scrapes: Scrapes) -> None:
    answered = {name for role in ROLES for name, _ in scrapes.many[role]}
    # Of the process that tests/reconciling starts.
    answered |= {one.name for one in documented() if one.role == "reconciler"}
    asked = {name for query in queries() for name in METRIC.findall(query)}
    assert len(asked) >= 20
    assert asked - answered == set()
