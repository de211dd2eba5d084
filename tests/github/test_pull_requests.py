"""Which pull requests an event names: by every way in which GitHub names one, and whatever else the payload holds."""

from typing import Any

import pytest

from webhooks.github import samples
from webhooks.github.pull_requests import EVENTS, numbers_of


def listed(event: str, *pull_requests: Any) -> dict[str, Any]:
    return {event: {"pull_requests": list(pull_requests)}, "repository": {"id": 1}}


def test_githubs_own_sample_names_its_pull_request() -> None:
    assert numbers_of("pull_request", samples.load("pull_request")) == {218}


def test_a_comment_on_a_pull_request_is_told_from_one_on_an_issue() -> None:
    assert numbers_of("issue_comment", {"issue": {"number": 7, "pull_request": {}}}) == {7}
    assert numbers_of("issue_comment", {"issue": {"number": 7}}) == frozenset()


@pytest.mark.parametrize("event", ["check_run", "check_suite", "workflow_run"])
def test_checks_name_those_of_the_own_repository(event: str) -> None:
    own, other = {"number": 7, "base": {"repo": {"id": 1}}}, {"number": 8, "base": {"repo": {"id": 2}}}
    assert numbers_of(event, listed(event, own, other, {"number": 9})) == {7, 9}


@pytest.mark.parametrize("odd", [None, 7, "7", [], [None], {"number": True}, {"number": "7"}, {}])
def test_what_is_odd_names_none(odd: Any) -> None:
    for event in (*EVENTS, "push"):
        for payload in ({}, {event: odd}, {"pull_request": odd, "issue": odd}, listed(event, odd)):
            assert numbers_of(event, payload) == frozenset()
