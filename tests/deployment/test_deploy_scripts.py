"""Every script under deploy/, run twice: the second run keeps what the first one made, and no result is no success."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.image.containers import WHY_NOT
from tests.support import stand_ins
from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
NAME = "localhost/hookline-twice:latest"
BASE = "localhost/hookline-base:trixie"
HERE = {"assets.sh", "image/build.sh", "image/make-base.sh", "image/make-secrets.sh", "install.sh"}

Done = subprocess.CompletedProcess[str]


def run(script: str, *arguments: str | Path, **variables: object) -> Done:
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    command = [DEPLOY / script, *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


def test_there_is_no_script_that_is_not_run_twice_here() -> None:
    assert {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*.sh")} == HERE


# --- The image --------------------------------------------------------------------------------------------------------


class Engine:
    """A PATH with stand-ins on it, and the images that they keep."""

    def __init__(self, directory: Path) -> None:
        self.programs = directory / "programs"
        self.file = directory / "images.json"
        stand_ins.put(self.programs, buildah=stand_ins.BUILDAH)

    def run(self, script: str, *arguments: str, makes: str) -> Done:
        path = f"{self.programs}:{os.environ['PATH']}"
        told = {"STAND_IN_IMAGES": self.file, "STAND_IN_CONTENT": makes, "PYTHONPATH": ROOT, "PATH": path}
        return run(script, *arguments, **told)

    @property
    def images(self) -> dict[str, str]:
        return stand_ins.images(self.file)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


@pytest.fixture
def engine_with_base(engine: Engine) -> Engine:
    engine.file.write_text(f'{{"{BASE}": "a base"}}')
    return engine


def test_an_image_that_is_built_again_without_a_change_is_still_there(engine_with_base: Engine) -> None:
    for _ in range(2):
        done = engine_with_base.run("image/build.sh", NAME, makes="an image")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{NAME}: 232 MB, its base included."
        assert engine_with_base.images == {BASE: "a base", NAME: "an image"}


def test_an_image_that_a_changed_one_has_replaced_is_removed(engine_with_base: Engine) -> None:
    for content in ("an image", "another"):
        assert engine_with_base.run("image/build.sh", NAME, makes=content).returncode == 0
        assert engine_with_base.images == {BASE: "a base", NAME: content}


@pytest.mark.parametrize("former", ["", "an image"])
def test_a_build_that_leaves_no_image_is_a_failure(engine_with_base: Engine, former: str) -> None:
    if former:
        engine_with_base.run("image/build.sh", NAME, makes=former)
        engine_with_base.file.write_text(f'{{"{BASE}": "a base"}}')
    done = engine_with_base.run("image/build.sh", NAME, makes="")
    assert done.returncode != 0
    assert "its base included" not in done.stdout
    assert f"no image is named {NAME}" in done.stderr


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest.mark.timeout(600)
def test_the_real_engine_still_has_an_image_that_was_built_twice() -> None:
    try:
        sizes = [run("image/build.sh", NAME) for _ in range(2)]
        assert [done.returncode for done in sizes] == [0, 0], sizes[-1].stderr
        assert sizes[0].stdout.splitlines()[-1] == sizes[1].stdout.splitlines()[-1]
        assert subprocess.run(["podman", "image", "exists", NAME], check=False).returncode == 0
    finally:
        subprocess.run(["buildah", "rmi", NAME], capture_output=True, check=False)


@pytest.fixture
def debian(engine: Engine, tmp_path: Path) -> Engine:
    """A mirror on this disk, and apt as far as make-base.sh asks it."""
    if not Path("/usr/lib/apt/apt-helper").exists():
        pytest.skip("not run for want of a service: apt")
    (tmp_path / "mirror" / "dists" / "trixie").mkdir(parents=True)
    (tmp_path / "mirror" / "dists" / "trixie" / "Release").write_text("Suite: stable\n")
    lists = f"#!/bin/sh\ncase $* in *Security*) ;; *) echo 'file:{tmp_path}/mirror trixie';; esac\n"
    stand_ins.put(
        engine.programs,
        debootstrap=stand_ins.DEBOOTSTRAP,
        apt_get=lists,
        apt_config=stand_ins.NOTHING,
        chroot=stand_ins.NOTHING,
        id="#!/bin/sh\necho 0\n",
    )
    return engine


def test_a_base_that_is_made_again_replaces_the_former_one(debian: Engine) -> None:
    for content in ("a base", "a base", "another"):
        done = debian.run("image/make-base.sh", BASE, makes=content)
        assert done.returncode == 0, done.stderr
        assert debian.images == {BASE: content}


def test_a_base_that_is_not_there_once_it_is_made_is_a_failure(debian: Engine) -> None:
    done = debian.run("image/make-base.sh", BASE, makes="")
    assert done.returncode != 0
    assert f"no image is named {BASE}" in done.stderr


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_that_could_not_be_made_are_made_by_the_next_run_and_then_kept(tmp_path: Path) -> None:
    """Whatever stops a run in the middle leaves no empty secret, which the next one would take for a secret."""
    programs, directory = tmp_path / "programs", tmp_path / "secrets"
    stand_ins.put(programs, od="#!/bin/sh\nexit 1\n")
    failed = run("image/make-secrets.sh", directory, PATH=f"{programs}:{os.environ['PATH']}")
    assert failed.returncode != 0
    assert failed.stderr
    runs = []
    for _ in range(2):
        assert run("image/make-secrets.sh", directory).returncode == 0
        runs.append({path.name: path.read_text() for path in directory.iterdir()})
    assert runs[0] == runs[1]
    assert all(runs[0].values())


# --- The environment --------------------------------------------------------------------------------------------------


def wheel(directory: Path) -> Path:
    """Write the smallest package that pip installs."""
    file = directory / "hookline_sample-1-py3-none-any.whl"
    inside = "hookline_sample-1.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hookline_sample.py", "")
        archive.writestr(f"{inside}/METADATA", "Metadata-Version: 2.1\nName: hookline-sample\nVersion: 1\n")
        archive.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{inside}/RECORD", "")
    return file


@pytest.mark.slow
def test_an_environment_that_is_installed_again_still_has_what_the_lock_file_names(tmp_path: Path) -> None:
    lock, venv = tmp_path / "sample.lock", tmp_path / "venv"
    digest = hashlib.sha256(wheel(tmp_path).read_bytes()).hexdigest()
    lock.write_text(f"hookline-sample==1 \\\n    --hash=sha256:{digest}\n")
    told = {"PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    for _ in range(2):
        done = run("install.sh", lock, venv, **told)
        assert done.returncode == 0, done.stderr
        assert subprocess.run([venv / "bin" / "python", "-c", "import hookline_sample"], check=False).returncode == 0
    shutil.rmtree(venv)


@pytest.mark.parametrize("content", [None, "", "# All of it is gone.\n"])
def test_a_lock_file_that_names_no_package_is_a_failure(tmp_path: Path, content: str | None) -> None:
    lock = tmp_path / "sample.lock"
    if content is not None:
        lock.write_text(content)
    done = run("install.sh", lock, tmp_path / "venv", PYTHON=sys.executable)
    assert done.returncode != 0
    assert f"{lock} names no package" in done.stderr
    assert not (tmp_path / "venv").exists()


# --- The console's files ----------------------------------------------------------------------------------------------


def test_the_consoles_files_are_copied_anew_and_nothing_else_is_left_there(tmp_path: Path) -> None:
    checkout = tmp_path / "hookline"
    for part in ("assets", "deploy", "webhooks/static", "tests/console"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("vendor", "axe.min.js"))
    shutil.copy(ROOT / "requirements-assets.lock", checkout)
    vendor = checkout / "webhooks/static/vendor"
    first, second = (_copy_assets(checkout, vendor) for _ in range(2))
    assert first == second
    assert {"tabler.min.css", "tabler.min.js", "htmx.min.js", "uPlot.iife.min.js", "icons.svg"} <= set(first)
    (checkout / "assets/icons.txt").write_text("home\nno-such-icon\n")
    done = subprocess.run([checkout / "deploy/assets.sh"], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1
    assert done.stderr == "hookline: assets/icons.txt: there is no icon no-such-icon\n"
    assert {path.name for path in vendor.iterdir()} == {*first, "old.css"}


def _copy_assets(checkout: Path, vendor: Path) -> dict[str, str]:
    subprocess.run([checkout / "deploy/assets.sh"], check=True, timeout=280, capture_output=True)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in vendor.iterdir()}
    (vendor / "old.css").write_text("of the release before")
    return found
