"""What holds for every page of the console, in a real browser: no fault, readable by everybody, usable by keyboard."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import Visitor
from tests.support.processes import ROOT
from webhooks.console.navigation import MENU

pytestmark = pytest.mark.browser

AXE = ROOT / "tests" / "console" / "axe.min.js"
PATHS = ["/" if entry.name == "home" else f"/{entry.name}/" for entry in MENU]
BESIDE_THE_MENU = ["/tokens/"]
SERIOUS = ("serious", "critical")


def findings(page: Page) -> list[Any]:
    """Return what axe-core finds serious. It comes by the browser's debugger, which the page's policy does not bind."""
    page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": AXE.read_text()})
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        {"rule": each["id"], "where": [node["html"] for node in each["nodes"]][:3]}
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def copied(page: Page, name: str) -> str:
    """Press a button that copies, which says so; return what is on the clipboard. The page has no fault after that."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=name).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert not findings(page)
    assert overflow(page) <= 0
    return str(page.evaluate("navigator.clipboard.readText()"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PATHS, *BESIDE_THE_MENU])
def test_a_page_has_no_fault_and_no_serious_finding(visitor: Visitor, path: str, theme: str) -> None:
    page = visitor.sign_in("operator", path)
    page.evaluate(f"localStorage.setItem('hookline-theme', {json.dumps(theme)})")
    page.reload()
    assert page.locator("html").get_attribute("data-bs-theme") == theme
    expect(page.locator("h1")).to_have_count(1)
    assert not findings(page)
    assert overflow(page) <= 0


OVERLAPPING = """[...document.querySelectorAll("header a, header button")].filter(one => one.offsetParent).flatMap(
    (one, place, all) => all.slice(place + 1).map(other => [one, other])
).filter(([one, other]) => {
    const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
    return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
}).map(pair => pair.map(one => one.textContent.trim()))"""


@pytest.mark.parametrize("width", [390, 992, 1280, 1400])
def test_no_part_of_the_bar_lies_on_another_also_with_a_long_name(visitor: Visitor, width: int) -> None:
    page = visitor.sign_in("operator")
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("header .dropdown-toggle span").evaluate("one => one.textContent = 'somebody.with.a.name@example.com'")
    assert page.evaluate(OVERLAPPING) == []
    assert overflow(page) <= 0


@pytest.mark.phone
@pytest.mark.parametrize("path", [*PATHS, *BESIDE_THE_MENU])
def test_a_page_fits_on_a_phone(visitor: Visitor, path: str) -> None:
    page = visitor.sign_in("operator", path)
    assert not findings(page)
    assert overflow(page) <= 0


def test_the_form_has_no_serious_finding(visitor: Visitor) -> None:
    page = visitor.open("/sign-in/")
    assert not findings(page)


def test_every_page_is_reached_by_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.open("/sign-in/")
    page.keyboard.type("viewer")
    page.keyboard.press("Tab")
    page.keyboard.type("a password of the tests")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{visitor.address}/")
    for path in PATHS[1:]:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('href')") == path:
                break
        page.keyboard.press("Enter")
        page.wait_for_url(f"{visitor.address}{path}")


def test_the_first_thing_that_tab_reaches_skips_the_menu(visitor: Visitor) -> None:
    page = visitor.sign_in("viewer")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_keys_do_what_the_help_says(visitor: Visitor) -> None:
    page = visitor.sign_in("viewer", "/deliveries/")
    before = page.locator("html").get_attribute("data-bs-theme")
    page.keyboard.press("t")
    assert page.locator("html").get_attribute("data-bs-theme") != before
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()


def test_what_the_user_may_not_see_is_refused_with_the_way_back(visitor: Visitor) -> None:
    page = visitor.sign_in("viewer")
    page.goto(f"{visitor.address}/admin/auth/user/")
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    assert visitor.faults.pop().startswith("Failed to load resource: the server responded with a status of 403")
