"""An administrator makes a destination, tries its filter, tests it, switches it on, and deletes it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.test_at_night import reload_until
from tests.browser.test_every_page import findings, overflow
from tests.browser.visitor import Visitor
from tests.support.processes import wait_until
from tests.support.stack import Stack
from tests.support.targets import Target, target

pytestmark = pytest.mark.browser

SECRET = "a secret of the browser's test"


@pytest.fixture
def there() -> Iterator[Target]:
    with target() as one:
        yield one


def test_a_destination_is_made_tested_switched_on_and_deleted(visitor: Visitor, console: Stack, there: Target) -> None:
    page = visitor.sign_in("administrator", "/destinations/")
    page.get_by_role("link", name="Add a destination").click()
    page.get_by_label("Name").fill("browser")
    page.get_by_label("URL").fill(there.url)
    page.get_by_label("Events").fill("no_such_event")
    page.get_by_role("button", name="Which of the last 100").click()
    expect(page.get_by_text("GitHub has no event no_such_event.")).to_be_visible()
    page.get_by_label("Events").fill("*")
    page.get_by_role("button", name="Which of the last 100").click()
    expect(page.get_by_text("Of the last")).to_be_visible()
    page.get_by_label("Signed").select_option("github")
    page.get_by_label("Signing secret").fill(SECRET)
    # The console's worker consumes no other than chat and default.
    page.get_by_label("Queue", exact=True).select_option("chat")
    page.get_by_label("Its host may have a private address").check()
    assert not findings(page)
    assert overflow(page) <= 0
    page.get_by_role("button", name="Make it, switched off").click()
    expect(page.get_by_role("status")).to_contain_text("Made browser. It is off")
    assert SECRET not in page.content()
    assert not findings(page)

    page.get_by_role("button", name="Send a test to browser").click()
    wait_until(lambda: bool(there.got), what="the test to arrive")
    assert there.got[0].headers["x-github-event"] == "ping"
    assert there.got[0].headers["x-hub-signature-256"].startswith("sha256=")
    reload_until(page, page.get_by_text("200 in ").first.is_visible)

    page.goto(f"{visitor.address}/destinations/")
    page.get_by_role("button", name="Switch on browser").click()
    expect(page.get_by_role("status")).to_contain_text("Switched browser on")

    page.get_by_role("link", name="Delete browser").click()
    assert not findings(page)
    page.get_by_label("Why").fill("the browser's test is over")
    page.get_by_role("button", name="Delete browser").click()
    expect(page.get_by_role("status")).to_contain_text("Deleted browser")
    expect(page.get_by_role("heading", name="browser")).to_have_count(0)
