"""What somebody does at 3 a.m.: did we get it, did it run, why not, run it again. In the order in which it happens."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import Visitor
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

RUNS_SECONDS = 60
"""How long a job may take to run on a machine that does much else."""


def one(console: Stack, query: str) -> str:
    return str(console.rows(query)[0][0])


def reload_until(page: Page, is_there: Callable[[], bool]) -> None:
    """Open the page again each second until something is on it: it would refresh itself, somewhat later."""
    for _ in range(RUNS_SECONDS):
        if is_there():
            return
        page.wait_for_timeout(1_000)
        page.reload()
    raise AssertionError("not within a minute")


def state_of(page: Page) -> str:
    return page.locator("p.h3 [data-state]").get_attribute("data-state") or ""


def test_home_says_what_is_broken_and_leads_there(visitor: Visitor) -> None:
    page = visitor.sign_in("operator")
    expect(page.locator("main")).to_contain_text("2 open issues")
    expect(page.locator("main")).to_contain_text("nobody consumes slow")
    page.get_by_role("link", name="Dead", exact=True).click()
    expect(page.get_by_text("ConnectionError: chat.example.com")).to_be_visible()


def test_a_failed_delivery_is_found_by_its_guid_and_its_job_runs_again(visitor: Visitor, console: Stack) -> None:
    [(job, guid)] = console.rows(
        "SELECT j.id, d.guid FROM webhooks_job j JOIN webhooks_delivery d ON d.id = j.delivery_id"
        " WHERE j.state = 'dead' AND j.handler = 'team.label_pull_request' ORDER BY j.id LIMIT 1"
    )
    page = visitor.sign_in("operator", "/deliveries/")
    page.keyboard.press("/")
    page.keyboard.type(str(guid))
    page.keyboard.press("Enter")
    page.locator("tbody tr a").first.click()
    expect(page.get_by_role("heading", name=re.compile(f"team.label_pull_request #{job}"))).to_be_visible()
    expect(page.get_by_text("KeyError: 'head'").first).to_be_visible()
    page.get_by_role("link", name=re.compile(f"#{job}")).first.click()
    page.get_by_role("link", name="Run again").click()
    page.get_by_label("Why").fill("the handler is mended")
    page.get_by_role("button", name="Run again: 1 job").click()
    page.goto(f"{visitor.address}/jobs/{job}/")
    reload_until(page, lambda: state_of(page) == "succeeded")
    expect(page.get_by_text("the handler is mended")).to_be_visible()


def test_a_waiting_job_says_why_it_waits(visitor: Visitor, console: Stack) -> None:
    job = one(console, "SELECT id FROM webhooks_job WHERE queue = 'slow' AND state = 'queued' LIMIT 1")
    page = visitor.sign_in("viewer", f"/jobs/{job}/")
    expect(page.locator(".job-waiting")).to_contain_text("Nobody consumes the queue slow")


def test_one_of_a_group_is_retried_first_and_then_the_rest(visitor: Visitor, console: Stack) -> None:
    dead = "SELECT count(*) FROM webhooks_job WHERE state = 'dead' AND handler = 'team.label_pull_request'"
    count = int(one(console, dead))
    page = visitor.sign_in("operator", "/dead/")
    page.get_by_role("link", name="team.label_pull_request").click()
    page.get_by_role("button", name="Retry one as a canary").click()
    rest = page.get_by_role("link", name=f"Retry the other {count - 1}")
    reload_until(page, rest.is_visible)
    rest.click()
    page.get_by_label("Why").fill("the canary ran well")
    page.locator("main form button[type=submit]").click()
    reload_until(page, lambda: one(console, dead) == "0")


def test_a_replay_is_counted_first_and_cancelled_half_way(visitor: Visitor, console: Stack) -> None:
    count = int(one(console, "SELECT count(*) FROM webhooks_job WHERE state = 'dead' AND queue = 'chat'"))
    page = visitor.sign_in("operator", "/replays/new/")
    page.get_by_role("combobox", name="Handler").fill("team.notify_chat")
    page.get_by_role("button", name="Count them").click()
    expect(page.locator("main")).to_contain_text(f"{count:,}")
    assert int(one(console, "SELECT count(*) FROM webhooks_replay")) == 0
    page.get_by_label(re.compile("a second")).fill("20")
    page.get_by_label(re.compile("Why|Reason")).fill("the chat answers again")
    page.locator("main form button[type=submit]").click()
    succeeded = "SELECT count(*) FROM webhooks_job WHERE state = 'succeeded' AND queue LIKE 'chat/%'"
    reload_until(page, lambda: int(one(console, succeeded)) >= 20)
    page.get_by_role("button", name="Cancel").click()
    reload_until(page, lambda: one(console, "SELECT state FROM webhooks_replay") == "cancelled")
    left = int(one(console, "SELECT count(*) FROM webhooks_job WHERE state = 'dead' AND handler = 'team.notify_chat'"))
    assert 0 < left < count


def test_the_jobs_of_a_paused_handler_wait_until_it_is_resumed(visitor: Visitor, console: Stack) -> None:
    page = visitor.sign_in("operator", "/queues/")
    page.get_by_role("link", name="Pause handler team.scan_push").click()
    page.get_by_label("Why").fill("GitHub is out")
    page.get_by_role("button", name="Pause handler team.scan_push").click()
    expect(page.get_by_role("region", name="Paused")).to_contain_text("GitHub is out")
    assert console.send("", event="push")[0] == 202
    [(job,)] = console.rows("SELECT max(id) FROM webhooks_job")
    page.goto(f"{visitor.address}/jobs/{job}/")
    expect(page.locator(".job-waiting")).to_contain_text("is paused by operator")
    page.get_by_role("region", name="Paused").get_by_role("button").click()
    page.goto(f"{visitor.address}/jobs/{job}/")
    reload_until(page, lambda: state_of(page) == "succeeded")


def test_a_viewer_is_offered_nothing_and_refused(visitor: Visitor, console: Stack) -> None:
    job = one(console, "SELECT id FROM webhooks_job WHERE state = 'dead' LIMIT 1")
    page = visitor.sign_in("viewer", f"/jobs/{job}/")
    for name in ("Run again", "Give up"):
        expect(page.get_by_role("link", name=name)).to_have_count(0)
    page.goto(f"{visitor.address}/queues/pause/?queue=chat")
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    assert "403" in visitor.faults.pop()


def as_of(page: Page) -> str:
    return page.locator(".as-of time").inner_text()


def test_a_refresh_keeps_the_focus_and_where_the_page_stands(visitor: Visitor) -> None:
    page = visitor.sign_in("operator", "/jobs/?state=dead")
    link = page.locator("tbody tr").nth(3).get_by_role("link").first
    link.focus()
    page.evaluate("window.scrollTo(0, 200)")
    before = as_of(page)
    page.wait_for_timeout(1_100)  # The moment is shown in whole seconds.
    page.evaluate("htmx.trigger(document.getElementById('main'), 'live')")
    expect(page.locator(".as-of time")).not_to_have_text(before)
    expect(link).to_be_focused()
    assert page.evaluate("window.scrollY") == 200


def test_nothing_is_refreshed_while_rows_are_selected(visitor: Visitor) -> None:
    page = visitor.sign_in("operator", "/jobs/?state=dead")
    page.evaluate("document.getElementById('main').dataset.live = '1'")
    box = page.locator("tbody [data-select]").nth(2)
    box.check()
    before = as_of(page)
    page.wait_for_timeout(3_000)
    assert as_of(page) == before
    expect(box).to_be_checked()
    box.uncheck()
    box.blur()
    expect(page.locator(".as-of time")).not_to_have_text(before)
