"""Makes the cases, asks Kubernetes' own code, and writes both to cases.json."""

import json
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / "cluster" / "tools"
CONTROLLER = ("horizontal.go", "rate_limiters.go", "replica_calculator.go", "doc.go")
METRICS, CHANGES, STEPS = 500, 100, 40
POD = ("Started", "Changed", "Running", "Ready", "Stopping", "Usage", "Age", "Window")


def main() -> None:
    chance = random.Random(11)
    cases = {
        "Metrics": [metric(chance) for _ in range(METRICS)],
        "Changes": [change(chance) for _ in range(CHANGES)],
    }
    with tempfile.TemporaryDirectory() as directory:
        answers = json.loads(ask(Path(directory), json.dumps(cases)))
    lines = [json.dumps(compact(each)) for kind in ("Metrics", "Changes") for each in answers[kind]]
    (HERE / "cases.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def ask(directory: Path, cases: str) -> str:
    """Build the program and return its answers."""
    for name in ("go.mod", "go.sum"):
        shutil.copy(TOOLS / name, directory)
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    found = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"],
        cwd=directory, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (directory / "podautoscaler").mkdir()
    for name in CONTROLLER:
        source = Path(found.stdout.strip(), "pkg", "controller", "podautoscaler", name)
        (directory / "podautoscaler" / name).write_bytes(source.read_bytes())
    shutil.copy(HERE / "answers.go", directory / "podautoscaler")
    shutil.copy(HERE / "main.go", directory)
    subprocess.run(["go", "build", "-trimpath", "-o", "answers", "."], cwd=directory, env=environment, check=True)
    return subprocess.run([directory / "answers"], input=cases, check=True, stdout=subprocess.PIPE, text=True).stdout


def compact(case: dict[str, Any]) -> dict[str, Any]:
    """Return a case with its pods and its steps as lists: the names of their values would be most of the file."""
    if "Pods" in case:
        return {**case, "Pods": [[pod[name] for name in POD] for pod in case["Pods"]]}
    return {**case, "Steps": [[step[name] for name in ("At", "Wanted", "Answer")] for step in case["Steps"]]}


def pod(chance: random.Random) -> dict[str, Any]:
    """Return a pod, with seconds ago and thousandths of a core. No moment is just at a bound: time goes on."""
    started, runs = chance.choice([20, 45, 80, 200, 290, 310, 400, 4000]), chance.random() < 0.9
    usage = chance.choice([0, 5, 40, 100, 150, 165, 175, 250, 400, 900]) + chance.randrange(20)
    return {
        "Started": started,
        "Changed": max(1, started - chance.choice([0, 4, 12, 25, 40, 100])) + 0.5,
        "Running": runs,
        "Ready": runs and chance.random() < 0.8,
        "Stopping": chance.random() < 0.07,
        "Usage": usage if runs and chance.random() < 0.85 else None,
        "Age": chance.choice([2, 7, 15]),
        "Window": chance.choice([15, 10.5]),
    }


def metric(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(["cpu"] * 6 + ["age", "depth"])
    pods = [pod(chance) for _ in range(chance.randint(1, 7))]
    there = sum(1 for one in pods if not one["Stopping"]) or 1
    target = chance.choice(
        {"cpu": [30, 50, 60, 80, 120, 150], "age": [10_000, 60_000], "depth": [10_000, 350_000]}[kind]
    )
    share = chance.choice([0, 0.1, 0.5, 0.89, 0.95, 1.05, 1.12, 2, 7.3, 40])
    return {
        "Kind": kind,
        "Target": target,
        "Request": chance.choice([100, 250, 500, 1000]),
        "Current": max(1, there + chance.choice([-1, 0, 0, 0, 0, 1, 2])),
        "Replicas": there,
        "Value": int(target * share * (there if kind == "depth" else 1)),
        "Pods": pods,
    }


def rules(chance: random.Random) -> dict[str, Any]:
    def policy() -> dict[str, Any]:
        value = chance.choice([1, 2, 3, 10, 50, 100, 200])
        return {
            "type": chance.choice(["Pods", "Percent"]),
            "value": value,
            "periodSeconds": chance.choice([15, 30, 60, 120]),
        }

    return {
        "policies": [policy() for _ in range(chance.randint(1, 3))],
        "selectPolicy": chance.choice(["Max", "Max", "Max", "Min", "Min", "Disabled"]),
        "stabilizationWindowSeconds": chance.choice([0, 0, 60, 120, 300]),
    }


def change(chance: random.Random) -> dict[str, Any]:
    least = chance.randint(1, 3)
    most = least + chance.choice([0, 3, 9, 40])
    wanted = start = chance.randint(least, most)
    steps = []
    for number in range(STEPS):
        if chance.random() < 0.35:
            wanted = chance.choice([0, 1, 2, 5, 9, 20, 50, wanted + 1, max(0, wanted - 1)])
        steps.append({"At": 15 * number, "Wanted": wanted})
    behavior = None if chance.random() < 0.2 else {"scaleUp": rules(chance), "scaleDown": rules(chance)}
    return {"Least": least, "Most": most, "Start": start, "Behavior": behavior, "Steps": steps}


if __name__ == "__main__":
    main()
