"""Rules on secrets: each pod is given those that its role uses, and no others."""

from collections.abc import Iterator

from webhooks.source_secrets import listed_name
from workers.deployment.deployed import Deployed, Rule
from workers.deployment.manifests import Workload


def unneeded_secrets(deployed: Deployed) -> Iterator[str]:
    names = {name.removesuffix("_FILE") for workload in deployed.workloads for name in workload.variables}
    for workload in deployed.workloads:
        withheld = deployed.around.withheld[workload.role]
        for name in sorted(names):
            if listed_name(name) in withheld and _is_given(deployed, workload, name):
                yield (
                    f"{workload}: it is given {name}, which a {workload.role} does not use, and what runs there could "
                    f"give it away; leave it out of its variables, and out of the items of the Secrets that it mounts."
                )


def _is_given(deployed: Deployed, workload: Workload, name: str) -> bool:
    """Tell whether a variable's value is in the pod: among its variables, or in a Secret that holds it elsewhere."""
    if name in workload.variables:
        return True
    paths = ((other, other.variables.get(f"{name}_FILE", "")) for other in deployed.workloads)
    holds = {place for other, path in paths if path for place in _places(other, path)}
    whole = {source.get("secretRef", {}).get("name") for source in workload.container.get("envFrom") or ()}
    return any(secret in whole or _mounts(workload, secret, key) for secret, key in holds)


def _places(workload: Workload, path: str) -> Iterator[tuple[str, str]]:
    """Yield the Secret, and the key in it, that a path is in the container."""
    folder, _, name = path.rpartition("/")
    for secret, items, mount_path in _secrets(workload):
        if mount_path.rstrip("/") == folder:
            key = name if items is None else items.get(name)
            if key is not None:
                yield secret, key


def _mounts(workload: Workload, secret: str, key: str) -> bool:
    return any(name == secret and (items is None or key in items.values()) for name, items, _path in _secrets(workload))


def _secrets(workload: Workload) -> Iterator[tuple[str, dict[str, str] | None, str]]:
    """Yield each Secret that the container mounts: its name, which keys at which paths (None for all), and where."""
    volumes = {volume["name"]: volume["secret"] for volume in workload.pod.get("volumes") or () if "secret" in volume}
    for mount in workload.container.get("volumeMounts") or ():
        if secret := volumes.get(mount["name"]):
            items = {item["path"]: item["key"] for item in secret["items"]} if secret.get("items") else None
            yield secret["secretName"], items, mount["mountPath"]


RULES: tuple[Rule, ...] = (unneeded_secrets,)
