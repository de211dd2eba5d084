"""Renders the Kustomize overlays and components as `kubectl kustomize` does, once each, for the tests of them."""

import atexit
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import services
from tests.support.processes import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="not run for want of a service: kubectl")

Document = dict[str, Any]


class RefusedError(Exception):
    """Kustomize does not build it."""


def kustomize(directory: Path) -> str:
    """Return what a kustomization renders to. Raises RefusedError."""
    ended = subprocess.run(
        ["kubectl", "kustomize", str(directory)],
        env=os.environ | {"GOGC": "off"},  # It ends before collecting garbage would pay; a quarter less CPU.
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ended.returncode:
        raise RefusedError(ended.stderr)
    return ended.stdout


def parsed(text: str) -> list[Document]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load_all(text, Loader=loader))


@cache
def overlay(name: str) -> str:
    return kustomize(KUBERNETES / "overlays" / name)


@cache
def combination(components: Sequence[str], prefix: str = "", secret: str = "") -> str:
    """Return the base with these components, in this order, as an overlay of somebody's would have them.

    Such an overlay may give all names a prefix, and bring a Secret, whose name then ends in a hash.
    """
    with tempfile.TemporaryDirectory(prefix="hookline-kustomize-") as directory:
        names = [os.path.relpath(KUBERNETES / "components" / name, directory) for name in components]
        kustomization = {
            "namespace": "hookline",
            "namePrefix": prefix,
            "resources": [os.path.relpath(KUBERNETES / "base", directory)],
            "components": names,
            "secretGenerator": [{"name": secret, "literals": ["connection=secret"]}] if secret else [],
        }
        (Path(directory) / "kustomization.yaml").write_text(json.dumps(kustomization))
        return kustomize(Path(directory))


@cache
def compatibility() -> dict[str, frozenset[str]]:
    """Return deploy/README.md's table: each component, in order, and which others it excludes."""
    rows = re.findall(r"^\| `([\w-]+)` \|[^|]*\|([^|]*)\|", (KUBERNETES.parent / "README.md").read_text(), re.MULTILINE)
    return {name: frozenset(re.findall(r"`([\w-]+)`", excluded)) for name, excluded in rows}


@cache
def leftovers() -> dict[str, frozenset[str]]:
    """Return what deploy/README.md says to delete of each component that is no longer listed, as `kind/name`."""
    text = (KUBERNETES.parent / "README.md").read_text().partition("| You no longer list |")[2]
    rows = re.findall(r"^\| `([\w-]+)` \|([^|]*)\|$", text, re.MULTILINE)
    return {name: frozenset(re.findall(r"`([\w/-]+)`", objects)) for name, objects in rows}


def key_of(document: Document) -> str:
    """Return `kind/name`, as kubectl takes it."""
    return f"{document['kind'].lower()}/{document['metadata']['name']}"


def allowed_combinations() -> Iterator[tuple[str, ...]]:
    """Yield every combination of components that the table allows: none, each alone, and so on up to all."""
    table = compatibility()
    for count in range(len(table) + 1):
        for names in combinations(table, count):
            if not any(table[name] & set(names) for name in names):
                yield names


def tried_combinations() -> list[tuple[str, ...]]:
    """Return the base, each component and the largest combinations, which hold every pair; with WHOLE=1, all of two
    and three besides."""
    allowed, most = list(allowed_combinations()), 3 if services.IS_WHOLE else 1
    return [one for one in allowed if len(one) <= most or not any(set(one) < set(other) for other in allowed)]


@cache
def renderings() -> dict[str, list[Document]]:
    """Return the documents of every overlay and of the combinations that are tried, by a name for it.

    Of the processes that the suite runs in, one renders them, and the others read what it has written.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return _rendered()
    file = Path(tempfile.gettempdir()) / f"hookline-renderings-{run}.json"
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        atexit.register(file.unlink, missing_ok=True)
        atexit.register(file.with_suffix(".lock").unlink, missing_ok=True)
        if not file.exists():
            # Whole or not at all: once a process has ended and removed the lock's file, others no longer share it.
            unfinished = file.with_suffix(f".{os.getpid()}")
            unfinished.write_text(json.dumps(_rendered()))
            unfinished.replace(file)
        found: dict[str, list[Document]] = json.loads(file.read_text())
        return found


def _rendered() -> dict[str, list[Document]]:
    found = {f"overlays/{name}": parsed(overlay(name)) for name in OVERLAYS}
    allowed = tried_combinations()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Each is a process; the threads only wait.
        for names, text in zip(allowed, pool.map(combination, allowed), strict=True):
            found[" + ".join(("base", *names))] = parsed(text)
    return found


def pod_of(document: Document) -> Document | None:
    """Return the pod template of a workload; None for what runs nothing."""
    template: Document | None = (document.get("spec") or {}).get("template")
    return template if document["kind"] in ("Deployment", "Job") else None


def runs_hookline(document: Document) -> bool:
    labels: dict[str, str] = document["metadata"].get("labels", {})
    return labels.get("app.kubernetes.io/name") == "hookline"
