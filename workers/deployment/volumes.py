"""Which Secrets and ConfigMaps a container mounts, and where. The rule: each file that it has to read is there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from workers.deployment.deployed import Deployed, Rule
from workers.deployment.manifests import Workload

OF_THE_IMAGE = ("/etc/ssl", "/usr")
"""Where an image itself may have CA certificates."""


@dataclass(frozen=True, slots=True)
class Source:
    """A Secret or ConfigMap in a volume."""

    kind: str
    name: str
    keys: Mapping[str, str] | None
    """The key of each path in the volume; None if each key's path is its own name."""

    def key_at(self, path: str) -> str | None:
        return path if self.keys is None else self.keys.get(path)


def mounts(workload: Workload) -> Iterator[tuple[PurePosixPath, str, list[Source] | None]]:
    """Yield each mount's path, its subPath, and what is in its volume; None for a volume of another kind."""
    volumes = {volume["name"]: volume for volume in workload.pod.get("volumes") or ()}
    for mount in workload.container.get("volumeMounts") or ():
        yield (
            PurePosixPath(mount["mountPath"]), str(mount.get("subPath", "")), _sources(volumes.get(mount["name"], {}))
        )  # fmt: skip


def _sources(volume: Mapping[str, Any]) -> list[Source] | None:
    parts = volume["projected"].get("sources") or () if "projected" in volume else (volume,)
    found = [
        Source(kind, str(part[field].get("secretName", part[field].get("name"))), _keys(part[field].get("items")))
        for part in parts
        for field, kind in (("secret", "Secret"), ("configMap", "ConfigMap"))
        if field in part
    ]
    return found or None


def _keys(items: Any) -> dict[str, str] | None:
    return {item["path"]: item["key"] for item in items} if items else None


def places(workload: Workload, path: str) -> Iterator[tuple[Source, str]]:
    """Yield each Secret and ConfigMap that has a file at this path of the container, and the file's key in it."""
    for inside, sources in _at(workload, path):
        for source in sources or ():
            if (key := source.key_at(inside)) is not None:
                yield source, key


def _at(workload: Workload, path: str) -> Iterator[tuple[str, list[Source] | None]]:
    """Yield, for each mount that a path is below, the path inside its volume and what the volume holds."""
    for mount_path, sub_path, sources in mounts(workload):
        if PurePosixPath(path).is_relative_to(mount_path):
            yield str(PurePosixPath(sub_path) / PurePosixPath(path).relative_to(mount_path)), sources


def missing_files(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.workloads:
        for name, path in sorted(workload.variables.items()):
            # A role opens no file of a variable that it does not use; one ConfigMap names the files for all roles.
            if not name.endswith("_FILE") or not path or deployed.withholds(workload, name.removesuffix("_FILE")):
                continue
            if not _is_there(deployed, workload, path):
                yield (
                    f"{workload}: {name} is {path}, and no volume of its container has a file there, without which it "
                    f"does not start; mount the Secret or ConfigMap that has it, or correct the path."
                )


def _is_there(deployed: Deployed, workload: Workload, path: str) -> bool:
    if any(PurePosixPath(path).is_relative_to(folder) for folder in OF_THE_IMAGE):
        return True
    if any(sources is None for _, sources in _at(workload, path)):
        return True  # The content of a volume of another kind is not known here.
    return any(_has_key(deployed, source, key) for source, key in places(workload, path))


def _has_key(deployed: Deployed, source: Source, key: str) -> bool:
    """Tell whether a Secret or ConfigMap has a key. One that is not in these files counts as having it."""
    known = [one.body for one in deployed.manifests if (one.kind, one.name) == (source.kind, source.name)]
    keys = {key for one in known for part in ("data", "stringData", "binaryData") for key in one.get(part) or ()}
    return not known or key in keys


RULES: tuple[Rule, ...] = (missing_files,)
