"""Rules on secrets: each pod is given those that its role uses, and no others."""

from collections.abc import Iterator

from workers.deployment.deployed import Deployed, Rule
from workers.deployment.manifests import Workload
from workers.deployment.volumes import mounts, places


def unneeded_secrets(deployed: Deployed) -> Iterator[str]:
    names = {name.removesuffix("_FILE") for workload in deployed.workloads for name in workload.variables}
    for workload in deployed.workloads:
        for name in sorted(names):
            if deployed.withholds(workload, name) and _is_given(deployed, workload, name):
                yield (
                    f"{workload}: it is given {name}, which a {workload.role} does not use, and what runs there could "
                    f"give it away; leave it out of its variables, and out of the items of the Secrets that it mounts."
                )


def _is_given(deployed: Deployed, workload: Workload, name: str) -> bool:
    """Tell whether a variable's value is in the pod: as a variable, or in a Secret that any workload uses for it."""
    if name in workload.variables:
        return True
    paths = ((other, other.variables.get(f"{name}_FILE", "")) for other in deployed.workloads)
    holds = {
        (source.name, key)
        for other, path in paths
        if path
        for source, key in places(other, path)
        if source.kind == "Secret"
    }
    whole = {source.get("secretRef", {}).get("name") for source in workload.container.get("envFrom") or ()}
    return any(secret in whole or _mounts(workload, secret, key) for secret, key in holds)


def _mounts(workload: Workload, secret: str, key: str) -> bool:
    return any(
        (source.kind, source.name) == ("Secret", secret) and (source.keys is None or key in source.keys.values())
        for _, _, sources in mounts(workload)
        for source in sources or ()
    )


RULES: tuple[Rule, ...] = (unneeded_secrets,)
