"""A console with a day of 10,000 deliveries, on real processes, and a real browser in front of it.

The browser is Debian's Chromium, or the one that HOOKLINE_TEST_CHROMIUM names. The console runs on the embedded
database and broker, as `make run` has it.
"""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

from tests.support import services
from tests.support.stack import Stack, running_stack

DELIVERIES = 10_000
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PASSWORD = "a password of the tests"


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The processes: receiver, relay and worker, with a user in each role, whose name is the role's."""
    directory = tmp_path_factory.mktemp("console")
    team = {"HOOKLINE_APPS": "tests.console.team.apps.TeamConfig"}
    with running_stack(directory, database="sqlite", broker="filesystem", **team) as stack:
        stack.migrate()
        stack.run_module("tests.console.day", str(DELIVERIES))
        stack.run_module("tests.support.programs.make_users", PASSWORD)
        stack.start("receiver")
        stack.start("relay")
        stack.start("worker", "--queues", "default,chat")
        stack.wait_until_ready()
        yield stack


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    path = services.PROGRAMS["browser"]
    # Chromium's own sandbox wants a user that is not root, or one that may make namespaces.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=path, args=arguments)
    yield browser
    browser.close()


class Visitor:
    """A page of the browser, and what went wrong on it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("requestfailed", self._note_failure)

    def _note(self, message: ConsoleMessage) -> None:
        # What a policy refuses is an error on the browser's console too.
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _note_failure(self, request: Request) -> None:
        # A page that is left aborts what it still loads.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{request.url}: {request.failure}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.address}{path}")
        return self.page

    def sign_in(self, role: str, path: str = "/") -> Page:
        self.open(f"/sign-in/?next={path}")
        self.page.get_by_label("Name").fill(role)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.wait_for_url(f"{self.address}{path}")
        return self.page


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
