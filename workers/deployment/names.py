"""Rules on names: what Kubernetes takes as one, and that a migration's changes with what it says."""

import re
from collections.abc import Iterator

from workers.deployment.deployed import Deployed, Rule
from workers.deployment.manifests import WORKLOADS

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A DNS label: the names of pods, and the values of their labels, are made of their workload's name."""


def impossible_names(deployed: Deployed) -> Iterator[str]:
    for manifest in deployed.manifests:
        if manifest.kind in (*WORKLOADS, "Service", "Namespace") and not LABEL.fullmatch(manifest.name):
            yield (
                f"{manifest}: {manifest.name!r} is no name for it; use lower-case letters, digits and hyphens, 63 at "
                f"most. If an image's tag is a part of it, let a hash take its place, as base/migrate-job.yaml does."
            )


def unchanging_migrations(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("migrate"):
        if workload.manifest.kind == "Job" and workload.manifest.name.rpartition("-")[2] == workload.role:
            yield (
                f"{workload}: a Job cannot be changed once it is there, and the next image's would have the same name; "
                f"keep the annotation of base/migrate-job.yaml, by which kustomize ends the name in a hash."
            )


RULES: tuple[Rule, ...] = (impossible_names, unchanging_migrations)
