"""An administrator rotates a source's secret: makes one, copies it, sees that it is used, and retires it."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_at_night import reload_until
from tests.browser.test_every_page import copied, findings
from tests.browser.visitor import Visitor
from tests.support.processes import wait_until
from tests.support.stack import Stack

pytestmark = pytest.mark.browser


def test_a_new_secret_is_copied_once_verifies_and_is_retired(visitor: Visitor, console: Stack) -> None:
    page = visitor.sign_in("administrator", "/sources/")
    page.get_by_role("link", name="Add a secret to github").click()
    page.get_by_label("Note").fill("rotation")
    page.get_by_role("button", name="Make a secret").click()
    secret = page.locator("#value").input_value()
    assert copied(page, "Copy the secret") == secret

    wait_until(lambda: console.send("", event="push", secret=secret)[0] == 202, what="a receiver to have it")
    page.get_by_role("link", name="Done").click()
    row = page.get_by_role("row").filter(has_text="rotation")
    reload_until(page, row.filter(has_text="GitHub still signs with it").is_visible)
    assert secret not in page.content()

    row.get_by_role("link", name="Retire").click()
    assert not findings(page)
    page.get_by_label("Why").fill("the browser's test is over")
    page.get_by_label("Retire it all the same").check()
    page.get_by_role("button", name="Retire").click()
    expect(page.get_by_role("status")).to_contain_text("within seconds it verifies nothing")
    wait_until(lambda: console.send("", event="push", secret=secret)[0] == 401, what="no receiver to take it")
