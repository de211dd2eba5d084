"""The rule on names: a migration's Job has a new name for each image."""

from collections.abc import Iterator

from workers.deployment.deployed import Deployed, Rule


def unchanging_migrations(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("migrate"):
        if workload.manifest.kind == "Job" and workload.manifest.name.rpartition("-")[2] == workload.role:
            yield (
                f"{workload}: a Job cannot be changed once it is there, and the next image's would have the same name; "
                f"keep the annotation of base/migrate-job.yaml, by which kustomize ends the name in a hash."
            )


RULES: tuple[Rule, ...] = (unchanging_migrations,)
