"""`manage.py plan_capacity`: what it reads, prints, draws, and says of values that it cannot use."""

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.support.deployments import container, sound
from tests.support.processes import ROOT
from workers.capacity.jobs import VARIES

BURST = ("--burst", "3000", "--over", "20", "--handler-seconds", "0.2", "--handler-cpu-seconds", "0.02")


def told(*arguments: str | Path) -> str:
    output = io.StringIO()
    call_command("plan_capacity", *map(str, arguments), stdout=output)
    return output.getvalue()


def planned(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(*arguments, "--format", "json"))
    return found


def by_name(plan: dict[str, Any]) -> dict[str, Any]:
    return {each["policy"]: each for each in plan["policies"]}


def test_it_compares_the_bases_policy_the_usual_ones_and_fixed_fleets_without_a_database() -> None:
    plan = planned(*BURST)
    names = ["base", "cpu:60", "age:30", "depth:350", "fixed:5", "fixed:1"]
    assert [each["policy"] for each in plan["policies"]] == names
    assert (plan["jobs"], plan["concurrency"], plan["grace_seconds"]) == (3000, 70, 90.0)
    for each in plan["policies"]:
        assert 0 <= each["wait_p50_seconds"] <= each["wait_p99_seconds"] <= each["wait_longest_seconds"]
        assert each["unfinished"] == each["interrupted"] == 0
    hours = {name: each["replica_hours"] for name, each in by_name(plan).items()}
    assert hours["fixed:5"] == pytest.approx(5 * hours["fixed:1"])
    assert hours["fixed:1"] <= min(hours["base"], hours["depth:350"]) <= hours["fixed:5"]


def test_the_table_fits_sixty_columns_and_ends_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = told(*BURST, "--price", "0.05", "--target-wait", "60")
    assert all(len(line) <= 60 for line in text.splitlines())
    assert text.startswith("Workers: 1 to 5, 70 children each, as in")
    assert "POLICY" in text
    assert "COST" in text
    assert "Assumed: each worker gets up to 1 core" in text.replace("\n", " ")
    assert "fixed:1 is the cheapest policy with a p99 wait within" in text.replace("\n", " ")


def test_the_cost_is_the_price_of_the_hours() -> None:
    found = by_name(planned(*BURST, "--policy", "fixed:3", "--price", "0.5"))["fixed:3"]
    assert found["cost"] == pytest.approx(found["replica_hours"] * 0.5)
    assert by_name(planned(*BURST, "--policy", "fixed:3"))["fixed:3"]["cost"] is None


def test_named_policies_alone_are_compared_once_each() -> None:
    plan = planned(*BURST, "--policy", "cpu:60+depth:350", "--policy", "fixed:2", "--policy", "fixed:2")
    assert [each["policy"] for each in plan["policies"]] == ["cpu:60+depth:350", "fixed:2"]


def test_the_same_seed_gives_the_same_plan() -> None:
    rate = ("--rate", "5", "--handler-seconds", "1")
    assert told(*rate, "--seed", "3") == told(*rate, "--seed", "3")
    assert planned(*rate, "--seed", "3")["jobs"] != planned(*rate, "--seed", "4")["jobs"]


def test_if_no_policy_is_fast_enough_it_says_why_and_how_many_workers_would_be() -> None:
    slow = ("--burst", "4000", "--over", "10", "--handler-seconds", "5", "--handler-cpu-seconds", "0")
    plan = planned(*slow, "--target-wait", "10", "--policy", "depth:350")
    assert plan["best"] is None
    assert plan["answer"].startswith("No policy has a p99 wait within 10 s. The fastest is depth:350: its p99 wait is")
    number = int(plan["answer"].partition("minReplicas ")[2].partition(",")[0])
    assert planned(*slow, "--target-wait", "10", "--policy", f"fixed:{number}")["best"] == f"fixed:{number}"
    assert planned(*slow, "--target-wait", "10", "--policy", f"fixed:{number - 1}")["best"] is None


def test_if_the_cores_are_the_limit_it_says_that_workers_do_not_help() -> None:
    found = planned(
        "--burst", "5000", "--over", "10", "--handler-seconds", "0.1", "--cpu-share", "1", "--cores", "2",
        "--target-wait", "5", "--policy", "fixed:5",
    )  # fmt: skip
    assert "all 2 cores were in use" in found["answer"]
    assert "64 workers from the beginning would not be enough either" in found["answer"]


def test_handlers_that_outlast_the_grace_are_a_risk_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    long = ("--burst", "200", "--over", "10", "--handler-seconds", "400", "--cpu-share", "0")
    text = told(*long, "--policy", "depth:10")
    assert "At risk: 200 runs (100.0%) take longer than the 85 s that a stopping worker waits" in text
    plan = planned(*BURST)
    assert (plan["runs_longer_than_grace"], plan["longest_run_seconds"]) == (0, pytest.approx(0.2, rel=VARIES))


def test_it_reads_manifests_from_a_file_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = sound()
    container(manifests, "worker")["resources"]["requests"]["cpu"] = "1"
    container(manifests, "worker")["args"] = ["worker", "--concurrency", "9"]
    manifests["scaler"]["spec"]["maxReplicas"] = 3
    text = yaml.safe_dump_all(manifests.values())
    (tmp_path / "rendered.yaml").write_text(text)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    for source in (tmp_path / "rendered.yaml", "-"):
        plan = planned(source, *BURST)
        assert plan["concurrency"] == 9
        assert [each["policy"] for each in plan["policies"]] == [
            "given", "cpu:60", "age:30", "depth:350", "fixed:3", "fixed:1",
        ]  # fmt: skip


def test_options_win_over_the_deployments_numbers() -> None:
    plan = planned(*BURST, "--min", "2", "--max", "8", "--concurrency", "10", "--cores", "6")
    assert [each["policy"] for each in plan["policies"]][-2:] == ["fixed:8", "fixed:2"]
    assert (plan["concurrency"], plan["cores"], plan["cores_of_a_worker"]) == (10, 6.0, None)


def test_it_draws_a_line_for_each_policy_in_three_panels(tmp_path: Path) -> None:
    told(*BURST, "--policy", "cpu:60", "--policy", "fixed:2", "--plot", tmp_path / "plan.svg")
    root = ET.fromstring((tmp_path / "plan.svg").read_text())
    svg = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{svg}polyline")) == 6
    titles = {text.text for text in root.iter(f"{svg}text")}
    assert {"Jobs that wait", "Workers that are ready", "Age of the oldest waiting job", "cpu:60", "fixed:2"} <= titles


def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"nowhere/plan\.svg cannot be written: No such file or directory"):
        told(*BURST, "--policy", "fixed:1", "--plot", tmp_path / "nowhere" / "plan.svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--burst", "0"), r"--burst must be more than 0; it is 0"),
        (("--burst", "-5"), r"--burst must be more than 0; it is -5"),
        (("--handler-seconds", "nan"), r"--handler-seconds must be more than 0; it is nan"),
        (("--handler-seconds", "-1"), r"--handler-seconds must be more than 0"),
        (("--over", "inf"), r"--over must be more than 0; it is inf"),
        (("--rate", "-1"), r"--rate must be 0 or more; it is -1"),
        (("--over", "1e300"), r"--over must be 604,800 or less; it is 1e\+300"),
        (("--window", "1e300"), r"--window must be 10,080 or less"),
        (("--scrape-seconds", "0.01"), r"--scrape-seconds must be 1 or more; it is 0\.01"),
        (("--max", "5000"), r"--max must be 1,000 or less; it is 5000"),
        (("--policy", "fixed:5000"), r"a fixed fleet is a whole number up to 1,000, and nothing else"),
        (("--burst", "10", "--times", "1e308"), r"inf jobs are more than the 1,000,000"),
        (("--max", "0"), r"--max must be more than 0"),
        (("--min", "9", "--max", "3"), r"--min 9 is more than --max 3"),
        (("--cores", "0"), r"--cores must be more than 0"),
        (("--policy", "fixed:0"), r"--policy fixed:0: give cpu:PERCENT, age:SECONDS, depth:JOBS, fixed:WORKERS"),
        (("--policy", "memory:60"), r"--policy memory:60: give"),
        (("--cpu-share", "2"), r"A handler cannot compute for longer than it runs"),
        (("--handler-cpu-seconds", "1", "--handler-seconds", "0.5"), r"A handler cannot compute for longer"),
        (("--handler-cpu-seconds", "1"), r"--handler-cpu-seconds needs --handler-seconds"),
        (("--handler-cpu-seconds", "1", "--handler-seconds", "2", "--cpu-share", "1"), r"Give either"),
        (("--since", "2h", "--burst", "5", "--handler-seconds", "1"), r"Give either --since, or --burst and --rate"),
        (("--burst", "2000000", "--handler-seconds", "1"), r"2,000,000 jobs are more than the 1,000,000"),
        (("--rate", "0.00001", "--handler-seconds", "1"), r"No job arrives"),
    ],
)
def test_a_wrong_value_is_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    usual = () if {"--burst", "--rate", "--since"} & {*arguments} else ("--burst", "10")
    seconds = () if any(name.startswith("--handler") for name in arguments) else ("--handler-seconds", "1")
    with pytest.raises(CommandError, match=message):
        told(*usual, *seconds, *arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", r"rendered\.yaml is no YAML"),
        (b"\xff\xfe", r"rendered\.yaml is no text"),
        (b"kind: ConfigMap\nmetadata: {name: a}", r"None of these manifests runs a worker"),
        (None, r"rendered\.yaml cannot be read: No such file or directory"),
    ],
)
def test_an_unreadable_manifest_is_one_sentence(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "rendered.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=message):
        told(path, *BURST)


def test_a_manifest_that_kubernetes_would_refuse_is_one_sentence(tmp_path: Path) -> None:
    manifests = sound()
    manifests["scaler"]["spec"]["maxReplicas"] = "many"
    container(manifests, "worker")["resources"]["requests"]["cpu"] = "1"
    (tmp_path / "rendered.yaml").write_text(yaml.safe_dump_all(manifests.values()))
    with pytest.raises(CommandError, match="Kubernetes would refuse these manifests"):
        told(tmp_path / "rendered.yaml", *BURST)


def test_the_documented_command_prints_what_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "84")
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    block = re.search(r"\n    \$ manage\.py plan_capacity (.+?)\n((?:    [^$\n].*\n)+)", page.replace("\\\n", " "))
    assert block is not None
    printed = "".join(f"    {line.rstrip()}\n" for line in told(*block[1].split()).splitlines())
    assert printed == block[2]
