"""A stand-in for GitHub with an installation, and settings that lead to it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.github.installations import Installation
from tests.support.github.server import GitHub, serving


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as running:
        yield running


@pytest.fixture
def installation(github: GitHub, settings: Any) -> Installation:
    """An installation whose API a run can call."""
    settings.HOOKLINE_GITHUB_WRITES = "send"
    settings.HOOKLINE_GITHUB_ACCESS = {"github": github.access()}
    return github.installation()


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Share nothing with other tests, and pause for nothing between tries."""
    from webhooks.github_api import sharing, transport
    from webhooks.subscriptions.subscription import Backoff

    monkeypatch.setattr(transport, "BACKOFF", Backoff(first=0.0, longest=0.0))
    sharing.close()
    yield
    sharing.close()
