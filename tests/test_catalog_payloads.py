"""How the bundled handlers read payloads, and what they give up."""

from datetime import datetime
from typing import Any

import pytest

from tests.catalog_events import NOON, event, handle
from webhooks import sample_payloads
from webhooks.event import GiveUp
from workers.catalog.reading import moment


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ping", "hook"),
        ("ping", "hook.id"),
        ("installation", "installation"),
        ("installation", "installation.account"),
        ("installation_repositories", "installation.id"),
        ("repository", "repository.full_name"),
        ("repository", "repository.private"),
        ("push", "repository.id"),
        ("push", "after"),
        ("push", "ref"),
    ],
)
@pytest.mark.django_db
@pytest.mark.parametrize(("value", "fault"), [(None, "missing"), (True, "not what GitHub sends")])
def test_a_payload_without_what_github_always_sends_is_given_up(name: str, path: str, value: Any, fault: str) -> None:
    if path.endswith("private") and value:
        value = 1
    payload = sample_payloads.load(name)
    *parents, key = path.split(".")
    holder = payload
    for parent in parents:
        holder = holder[parent]
    given = event(name, payload)
    holder[key] = value
    with pytest.raises(GiveUp, match=f"payload's {path} is {fault}"):
        handle(given)


@pytest.mark.django_db
def test_a_listed_repository_without_an_id_is_given_up() -> None:
    payload = sample_payloads.load("installation")
    del payload["repositories"][1]["id"]
    with pytest.raises(GiveUp, match="The listed repository's id is missing"):
        handle(event("installation", payload))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-10-10T12:00:00Z", NOON),
        ("2026-10-10T14:00:00.000+02:00", NOON),
        ("2026-10-10T12:00:00", NOON),
        (int(NOON.timestamp()), NOON),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("2026-13-45T00:00:00Z", None),
        (10**30, None),
        ([], None),
    ],
)
def test_a_moment_is_read_in_each_form_that_github_uses(value: Any, expected: datetime | None) -> None:
    assert moment(value) == expected
