"""The README's first handler and its test work as they stand, and the links of all pages lead somewhere."""

import re
from pathlib import Path

from tests.support.processes import ROOT, run_module

PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob(".github/**/*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("deploy/**/*.md"),
    *ROOT.glob("examples/*.md"),
]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readmes_handler_passes_its_tests(tmp_path: Path) -> None:
    handler, test = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme/__init__.py").touch()
    (tmp_path / "acme/handlers.py").write_text(handler)
    (tmp_path / "acme/test_handlers.py").write_text(test)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["webhooks.testing.plugin"]\n')
    tested = run_module("deploy.app_tests", "acme", tmp_path, "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout


def test_the_readme_shows_what_make_app_lays_out() -> None:
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        laid_out = "".join(file.read_text() for file in (ROOT / "deploy/app_template").iterdir())
        assert all(line in laid_out.replace("$name", "acme") for line in block.splitlines())


def test_every_link_between_the_pages_leads_somewhere() -> None:
    dead = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
                dead.append((str(page.relative_to(ROOT)), link))
    assert not dead
