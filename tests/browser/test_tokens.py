"""An operator makes a token, copies it, takes a delivery by it, and revokes it."""

import uuid

import pytest
import urllib3
from playwright.sync_api import expect

from tests.browser.test_every_page import copied
from tests.browser.visitor import Visitor
from tests.support.stack import Stack

pytestmark = pytest.mark.browser


def test_a_new_token_is_copied_once_hands_out_a_delivery_and_is_revoked(visitor: Visitor, console: Stack) -> None:
    [(key,)] = console.rows("SELECT guid FROM webhooks_delivery ORDER BY id LIMIT 1")
    guid = uuid.UUID(key)

    def status(token: str) -> int:
        url = f"http://127.0.0.1:{console.port}/api/deliveries/{guid}"
        return urllib3.request("GET", url, headers={"Authorization": f"Bearer {token}"}).status

    page = visitor.sign_in("operator")
    page.get_by_role("button", name="operator").click()
    page.get_by_role("link", name="Tokens").click()
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Make it").click()
    token = page.locator("#token").inner_text()
    assert copied(page, "Copy the token") == token
    assert status(token) == 200

    page.goto(f"{visitor.address}/tokens/")
    assert token not in page.content()
    row = page.get_by_role("row").filter(has_text="laptop")
    expect(row).to_contain_text("usable")
    row.get_by_role("button", name="Revoke the token laptop").click()
    expect(page.get_by_role("status")).to_contain_text("is revoked")
    assert status(token) == 401
