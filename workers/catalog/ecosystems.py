"""Which files are dependency manifests, and of which ecosystem. No I/O."""

from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase


class Ecosystem(StrEnum):
    """The names that GitHub's Advisory Database uses. Gradle resolves from Maven's repositories and counts as Maven."""

    COMPOSER = "composer"
    GO = "go"
    MAVEN = "maven"
    NPM = "npm"
    NUGET = "nuget"
    PIP = "pip"
    RUBYGEMS = "rubygems"
    RUST = "rust"


_BY_NAME = {
    Ecosystem.COMPOSER: "composer.json composer.lock",
    Ecosystem.GO: "go.mod go.sum go.work go.work.sum",
    Ecosystem.MAVEN: "pom.xml build.gradle build.gradle.kts settings.gradle settings.gradle.kts gradle.lockfile "
    "libs.versions.toml",
    Ecosystem.NPM: "package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb",
    Ecosystem.NUGET: "packages.config packages.lock.json project.assets.json Directory.Packages.props",
    Ecosystem.PIP: "pyproject.toml setup.py setup.cfg Pipfile Pipfile.lock poetry.lock uv.lock pdm.lock pylock.toml "
    "constraints.txt",
    Ecosystem.RUBYGEMS: "Gemfile Gemfile.lock gems.rb gems.locked",
    Ecosystem.RUST: "Cargo.toml Cargo.lock",
}
_ECOSYSTEM_OF_NAME = {name: ecosystem for ecosystem, names in _BY_NAME.items() for name in names.split()}
_ECOSYSTEM_OF_GLOB = {
    "requirements*.txt": Ecosystem.PIP,
    "requirements*.in": Ecosystem.PIP,
    "*requirements.txt": Ecosystem.PIP,
    "*requirements.in": Ecosystem.PIP,
    "pylock.*.toml": Ecosystem.PIP,
    "*.gemspec": Ecosystem.RUBYGEMS,
    "*.csproj": Ecosystem.NUGET,
    "*.fsproj": Ecosystem.NUGET,
    "*.vbproj": Ecosystem.NUGET,
}
_COPIED_IN = {"node_modules", "vendor"}
"""Directories with copies of other packages: their manifests do not say what this repository depends on."""


def ecosystem_of(path: str) -> Ecosystem | None:
    """Return the ecosystem of the manifest or lock file at `path`, or None if it is neither."""
    *directories, name = path.split("/")
    if _COPIED_IN.intersection(directories):
        return None
    if name in _ECOSYSTEM_OF_NAME:
        return _ECOSYSTEM_OF_NAME[name]
    if directories and directories[-1] == "requirements" and name.endswith((".txt", ".in")):
        return Ecosystem.PIP
    return next((found for glob, found in _ECOSYSTEM_OF_GLOB.items() if fnmatchcase(name, glob)), None)


def manifests(paths: Iterable[str]) -> dict[str, Ecosystem]:
    """Return the manifests among `paths`, sorted, each with its ecosystem."""
    found = ((path, ecosystem_of(path)) for path in sorted(set(paths)))
    return {path: ecosystem for path, ecosystem in found if ecosystem is not None}
