"""The sample payloads are what GitHub would send, and the bundled handlers subscribe to them."""

import json
from typing import Any

import pytest

from webhooks.github import samples
from webhooks.github.event_names import EVENT_NAMES
from webhooks.github.payload import JSON, parse, summarise
from webhooks.github.sender import SAMPLE_APP_ID, SAMPLE_HOOK_ID
from webhooks.subscriptions.installed import installed_subscriptions

SUMMARIES = {
    "ping": ("", "", None, ""),
    "push": ("", "acme/widgets", 51000123, "ana-example"),
    "pull_request": ("opened", "acme/widgets", 51000123, "ben-example"),
    "issues": ("opened", "acme/widgets", 51000123, "ana-example"),
    "installation": ("created", "", 51000123, "ana-example"),
    "installation_repositories": ("added", "", 51000123, "ana-example"),
    "repository": ("created", "acme/gadgets", 51000123, "ben-example"),
}
HANDLERS = {
    "ping": "catalog.mark_hook_live",
    "push": "catalog.request_scans",
    "installation": "catalog.record_installation",
    "installation_repositories": "catalog.record_installation_repositories",
    "repository": "catalog.record_repository",
}


def test_there_is_a_sample_of_each_event_family() -> None:
    assert set(samples.names()) == set(SUMMARIES) <= EVENT_NAMES


@pytest.mark.parametrize("event", SUMMARIES)
def test_a_sample_parses_and_says_what_the_inbox_keeps(event: str) -> None:
    body = json.dumps(samples.load(event)).encode()
    summary = summarise(parse(body, content_type=JSON))
    found = (summary.action, summary.repository, summary.installation_id, summary.sender)
    assert found == SUMMARIES[event]


@pytest.mark.parametrize("event", HANDLERS)
def test_the_bundled_handler_subscribes_to_its_sample(event: str) -> None:
    payload = samples.load(event)
    matching = installed_subscriptions().matching(event, payload.get("action", ""), payload)
    assert HANDLERS[event] in {subscription.name for subscription in matching}


def test_an_event_without_a_sample_is_named() -> None:
    with pytest.raises(LookupError, match="gollum"):
        samples.load("gollum")


def test_every_repository_has_all_that_the_others_have() -> None:
    repositories = list(_repositories([samples.load(event) for event in SUMMARIES]))
    assert len(repositories) >= 5
    common = set(samples.load("repository")["repository"])
    for repository in repositories:
        assert repository.keys() >= common
        assert repository["full_name"] == f"{repository['owner']['login']}/{repository['name']}"


def test_the_ping_tells_of_the_hook_that_sends_the_samples() -> None:
    ping = samples.load("ping")
    assert ping["hook_id"] == ping["hook"]["id"] == SAMPLE_HOOK_ID
    assert ping["hook"]["app_id"] == samples.load("installation")["installation"]["app_id"] == SAMPLE_APP_ID


def _repositories(value: Any) -> Any:
    """Yield every full repository object, wherever it stands."""
    if isinstance(value, dict):
        if "full_name" in value and "owner" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _repositories(one)
