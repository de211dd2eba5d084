"""A stand-in for GitHub, settings that lead to it, and handlers for pushes and for pull requests that are opened.

What needs Django is imported in the fixtures: it is not set up as this is read.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.github.log import Hook
from tests.support.github.server import GitHub, serving


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as running:
        yield running


@pytest.fixture
def hook(github: GitHub, settings: Any) -> Hook:
    """The App's hook, whose log can be read."""
    settings.HOOKLINE_GITHUB_ACCESS = {"github": github.access()}
    return github.hook()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for nothing between tries."""
    from webhooks.reconciling import client
    from webhooks.subscriptions.subscription import Backoff

    monkeypatch.setattr(client, "BACKOFF", Backoff(first=0.0, longest=0.0))


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.publishing.test_relay import SUBSCRIPTION
    from webhooks.subscriptions import installed
    from webhooks.subscriptions.subscription import Subscriptions

    count = replace(SUBSCRIPTION, name="shop.count", queue="default", where={"repository.full_name": "acme/*"})
    label = replace(SUBSCRIPTION, name="shop.label", events=frozenset({"pull_request"}), actions=frozenset({"opened"}))
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([count, label]))
