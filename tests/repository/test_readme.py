"""The README's first handler and its test work as they stand, and the links of all pages lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT, manage

PAGES = [*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readmes_handler_is_found_and_passes_its_test(tmp_path: Path) -> None:
    handler, test = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme/__init__.py").touch()
    (tmp_path / "acme/handlers.py").write_text(handler)
    (tmp_path / "acme/test_handlers.py").write_text(test)
    checked = manage("check", HOOKLINE_APPS="acme", PYTHONPATH=tmp_path, HOOKLINE_DATA_DIR=tmp_path / "data")
    assert (checked.returncode, checked.stderr) == (0, "")
    command = f"{sys.executable} -m pytest --rootdir {tmp_path} -c /dev/null -p no:cacheprovider acme".split()
    tested = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"}, capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout


def test_every_link_between_the_pages_leads_somewhere() -> None:
    dead = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
                dead.append((str(page.relative_to(ROOT)), link))
    assert not dead
