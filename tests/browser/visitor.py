"""A console with deliveries on real processes, and a real browser in front of it.

The browser is Debian's Chromium, or the one that HOOKLINE_TEST_CHROMIUM names. The console runs on the embedded
database and broker, as `make run` has it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

from tests.support import services
from tests.support.processes import wait_until
from tests.support.stack import Stack, running_stack

PASSWORD = "a password of the tests"


@contextmanager
def console_of(deliveries: int, directory: Path) -> Iterator[Stack]:
    """Run receiver, relay and worker, with so many deliveries and a user in each role, whose name is the role's."""
    team = {"HOOKLINE_APPS": "tests.console.team.apps.TeamConfig"}
    with running_stack(directory, database="sqlite", broker="filesystem", **team) as stack:
        stack.migrate()
        stack.run_module("tests.console.day", str(deliveries))
        stack.run_module("tests.support.programs.make_users", PASSWORD)
        stack.start("receiver")
        stack.start("relay")
        stack.start("worker", "--queues", "default,chat")
        stack.wait_until_ready()
        ready = "SELECT id FROM webhooks_workerreport WHERE state = 'ready'"
        wait_until(lambda: bool(stack.rows(ready)), what="the worker to report that it is ready")
        yield stack


def launch(playwright: Playwright) -> Browser:
    """Start the browser. Its own sandbox wants a user that is not root."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=services.PROGRAMS["browser"], args=arguments)


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
