"""Which files count as dependency manifests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.catalog.ecosystems import Ecosystem, ecosystem_of, manifests

DIRECTORIES = st.lists(st.sampled_from(["api", "web", "deep down", "Ünïcode", "src"]), max_size=4)
MANIFESTS = st.sampled_from(["package.json", "go.mod", "pom.xml", "Cargo.lock", "Gemfile", "uv.lock", "composer.json"])


@pytest.mark.parametrize(
    ("path", "ecosystem"),
    [
        ("requirements.txt", "pip"),
        ("requirements-dev.txt", "pip"),
        ("dev-requirements.txt", "pip"),
        ("requirements.in", "pip"),
        ("requirements/base.txt", "pip"),
        ("api/pyproject.toml", "pip"),
        ("setup.py", "pip"),
        ("setup.cfg", "pip"),
        ("Pipfile", "pip"),
        ("Pipfile.lock", "pip"),
        ("poetry.lock", "pip"),
        ("uv.lock", "pip"),
        ("pylock.ci.toml", "pip"),
        ("package.json", "npm"),
        ("web/package-lock.json", "npm"),
        ("yarn.lock", "npm"),
        ("pnpm-lock.yaml", "npm"),
        ("composer.json", "composer"),
        ("composer.lock", "composer"),
        ("go.mod", "go"),
        ("go.sum", "go"),
        ("pom.xml", "maven"),
        ("app/build.gradle", "maven"),
        ("build.gradle.kts", "maven"),
        ("gradle/libs.versions.toml", "maven"),
        ("Cargo.toml", "rust"),
        ("Cargo.lock", "rust"),
        ("Gemfile", "rubygems"),
        ("Gemfile.lock", "rubygems"),
        ("hookline.gemspec", "rubygems"),
        ("src/App/App.csproj", "nuget"),
        ("packages.lock.json", "nuget"),
    ],
)
def test_a_manifest_is_known_by_its_name(path: str, ecosystem: str) -> None:
    assert ecosystem_of(path) == ecosystem


@pytest.mark.parametrize(
    "path",
    ["", "README.md", "package.json.bak", "my-package.json", "gemfile", "go.mod/README.md", "docs/requirements.md",
     "notes/base.txt", "web/node_modules/left-pad/package.json", "vendor/acme/gears/composer.json"],
)  # fmt: skip
def test_another_file_or_a_copied_package_is_no_manifest(path: str) -> None:
    assert ecosystem_of(path) is None


@given(DIRECTORIES, MANIFESTS)
def test_a_manifest_counts_in_every_directory(directories: list[str], name: str) -> None:
    assert ecosystem_of("/".join([*directories, name])) == ecosystem_of(name) is not None


@given(st.text())
def test_any_path_has_an_ecosystem_or_none(path: str) -> None:
    assert ecosystem_of(path) in {*Ecosystem, None}


@given(st.lists(st.one_of(MANIFESTS, st.text(max_size=20))))
def test_manifests_are_told_once_each_whatever_the_order(paths: list[str]) -> None:
    found = manifests(paths)
    assert found == manifests(paths[::-1] + paths)
    assert list(found) == sorted({path for path in paths if ecosystem_of(path)})
