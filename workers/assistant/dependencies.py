"""Reads which packages a manifest asks for, of the manifests whose form is simple. No I/O."""

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from typing import Any

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REQUIRED_BY_GO = re.compile(r"^\s*(?:require\s+)?([a-z0-9.-]+\.[a-z]+/\S+)\s+v\S+", re.MULTILINE)


def dependencies(path: str, text: str) -> list[str] | None:
    """Return the names of the packages, sorted; None if this kind of file is not read, or is not well formed."""
    name = path.rpartition("/")[2]
    read = _READERS.get(name) or (_of_requirements if "requirements" in name and name.endswith(".txt") else None)
    if read is None:
        return None
    try:
        return sorted(set(read(text)))
    except (ValueError, TypeError, AttributeError):
        return None


def _of_npm(text: str) -> Iterable[str]:
    content = json.loads(text)
    return [*content.get("dependencies", {}), *content.get("devDependencies", {})]


def _of_pyproject(text: str) -> Iterable[str]:
    project: dict[str, Any] = tomllib.loads(text).get("project", {})
    extras = [one for group in project.get("optional-dependencies", {}).values() for one in group]
    return _names([*project.get("dependencies", []), *extras])


def _of_requirements(text: str) -> Iterable[str]:
    return _names(text.splitlines())


def _of_cargo(text: str) -> Iterable[str]:
    content = tomllib.loads(text)
    return [*content.get("dependencies", {}), *content.get("dev-dependencies", {})]


def _of_go(text: str) -> Iterable[str]:
    return _REQUIRED_BY_GO.findall(text)


def _names(lines: Iterable[str]) -> list[str]:
    return [found[0].lower() for line in lines if (found := _REQUIREMENT.match(line.strip()))]


_READERS: dict[str, Callable[[str], Iterable[str]]] = {
    "package.json": _of_npm,
    "pyproject.toml": _of_pyproject,
    "Cargo.toml": _of_cargo,
    "go.mod": _of_go,
}
