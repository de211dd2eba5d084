"""One console with a day of deliveries, and one browser, for all tests of a file."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.visitor import Visitor, console_of, launch
from tests.support.stack import Stack

DELIVERIES = 10_000
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The console; ended with the module, since a later test of a child's run ends all processes of this one."""
    with console_of(DELIVERIES, tmp_path_factory.mktemp("console")) as stack:
        yield stack


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright, ended with the module: while its event loop runs in this thread, Django asks no database."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture
def visitor(chromium: Browser, console: Stack, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A visitor with nothing stored, at a desk; a test marked `phone` has a telephone. Any fault fails the test."""
    size = PHONE if request.node.get_closest_marker("phone") else DESKTOP
    context = chromium.new_context(viewport=size)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    visitor = Visitor(context, f"http://127.0.0.1:{console.port}")
    yield visitor
    context.close()
    assert not visitor.faults
