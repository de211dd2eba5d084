"""`python -m tests.screenshots`: takes each page's picture into docs/images/console.

Light and dark with a day of 10,000 deliveries, and light with none.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import django
from playwright.sync_api import Browser, sync_playwright

from tests.browser.visitor import Visitor, console_of, launch
from tests.support.processes import ROOT
from tests.support.stack import Stack

PICTURES = ROOT / "docs" / "images" / "console"
DELIVERIES = 10_000
SIZE = {"width": 1280, "height": 860}
SETTLE_MILLISECONDS = 1_500
"""For charts to be drawn, and for what a page loads later."""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for deliveries, kind, themes in ((0, "empty", ("light",)), (DELIVERIES, "full", ("light", "dark"))):
            with TemporaryDirectory() as directory, console_of(deliveries, Path(directory)) as console:
                for theme in themes:
                    _take_all(browser, console, kind=kind, theme=theme)
        browser.close()


def _take_all(browser: Browser, console: Stack, *, kind: str, theme: str) -> None:
    context = browser.new_context(viewport=SIZE)  # type: ignore[arg-type]
    context.add_init_script(f"localStorage.setItem('hookline-theme', '{theme}')")
    visitor = Visitor(context, f"http://127.0.0.1:{console.port}")
    visitor.sign_in("operator")
    for name, path in _pages(console):
        page = visitor.open(path)
        page.wait_for_timeout(SETTLE_MILLISECONDS)
        file = PICTURES / f"{name}-{kind}-{theme}.png"
        page.screenshot(path=file)
        sys.stdout.write(f"{file.relative_to(ROOT)}\n")
    context.close()


def _pages(console: Stack) -> Iterator[tuple[str, str]]:
    """Yield the name and the path of each page; those of one row only where there is one."""
    from webhooks.console.navigation import MENU  # After Django's start.

    yield from ((entry.name, "/" if entry.name == "home" else f"/{entry.name}/") for entry in MENU)
    for name, path, query in _ROWS:
        for row in console.rows(query)[:1]:
            yield name, path.format(*row)


_ROWS: Sequence[tuple[str, str, str]] = (
    (
        "delivery",
        "/deliveries/{}/",
        "SELECT delivery_id FROM webhooks_job WHERE state = 'dead' ORDER BY id DESC LIMIT 1",
    ),
    ("job-dead", "/jobs/{}/", "SELECT id FROM webhooks_job WHERE state = 'dead' ORDER BY id DESC LIMIT 1"),
    ("job-waiting", "/jobs/{}/", "SELECT id FROM webhooks_job WHERE state = 'queued' ORDER BY id DESC LIMIT 1"),
    ("issue", "/dead/{}/", "SELECT fingerprint FROM webhooks_job WHERE state = 'dead' ORDER BY id DESC LIMIT 1"),
)

if __name__ == "__main__":
    main()
