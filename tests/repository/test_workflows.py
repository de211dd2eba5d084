"""What GitHub and pre-commit are told to run: only official actions by their tag, and make targets that are there."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def steps() -> list[dict[str, Any]]:
    return [step for file in WORKFLOWS for job in load(file)["jobs"].values() for step in job["steps"]]


def targets(commands: list[str]) -> list[str]:
    return [target for command in commands for target in re.findall(r"\bmake ([a-z-]+)", command)]


def test_the_workflows_use_only_official_actions_by_a_tag() -> None:
    used = {step["uses"] for step in steps() if "uses" in step}
    assert used
    assert all(re.fullmatch(r"actions/(checkout|setup-python)@v\d+", action) for action in used), used


def test_the_workflows_and_the_hooks_run_what_is_there() -> None:
    commands = [step["run"] for step in steps() if "run" in step]
    hooks = [hook["entry"] for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert hooks
    assert set(targets(hooks)) == {"lint", "types", "contracts"}
    assert set(targets(commands)) <= TARGETS
    scripts = [script for command in commands for script in re.findall(r"\.ci/[\w-]+", command)]
    assert set(scripts) == {".ci/run", ".ci/first-run"}
    assert all((ROOT / script).stat().st_mode & 0o100 for script in scripts)


def test_the_issue_forms_have_what_github_asks_of_one() -> None:
    forms = [load(file) for file in FORMS if file.name != "config.yml"]
    assert forms
    for form in forms:
        assert {"name", "description", "body"} <= set(form)
        inputs = [item for item in form["body"] if item["type"] != "markdown"]
        assert all(item["attributes"]["label"] for item in inputs)
        assert len({item["id"] for item in inputs}) == len(inputs)
