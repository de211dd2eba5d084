"""Which subscriptions an event matches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.subscriptions.matching import Expected, event_matches, path_fault, payload_matches, values_at

PAYLOAD: dict[str, Any] = {
    "action": "opened",
    "number": 7,
    "deleted": False,
    "installation": None,
    "repository": {"full_name": "acme/widgets", "private": True, "topics": ["python", "webhooks"]},
    "sender": {"login": "dependabot[bot]"},
    "pull_request": {"labels": [{"name": "bug"}, {"name": "urgent"}, "no object"], "body": "a\nb", "score": 1.0},
    "commits": [{"added": ["a.txt", "b/c.py"]}, {"added": []}, {"added": ["requirements.txt"]}],
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("events", "actions", "matches"),
    [
        ({"issues"}, None, True),
        ({"issues", "push"}, {"opened"}, True),
        ({"*"}, None, True),
        ({"*"}, {"opened"}, True),
        ({"push"}, None, False),
        ({"issues"}, {"closed"}, False),
        ({"*"}, {"closed"}, False),
        ({"issues"}, set(), False),
        (set(), None, False),
        ({"issue*"}, None, False),
    ],
)
def test_an_event_matches_by_its_name_and_its_action(events: set[str], actions: set[str] | None, matches: bool) -> None:
    subscribed = None if actions is None else frozenset(actions)
    assert event_matches("issues", "opened", events=frozenset(events), actions=subscribed) is matches


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"action": "opened"},
        {"action": "open*"},
        {"repository.full_name": "acme/*"},
        {"repository.full_name": ["other/*", "acme/*"]},
        {"repository.full_name": ("other/*", "acme/*")},
        {"number": 7},
        {"number": [6, 7]},
        {"deleted": False},
        {"repository.private": True},
        {"installation": None},
        {"repository.topics": "python"},
        {"pull_request.labels.name": "urgent"},
        {"commits.added": "*requirements*.txt"},
        {"commits.added": "*.py"},
        {"pull_request.body": "a*b"},
        {"$.repository.full_name": "acme/*"},
        {"$.repository.full_name": "ACME/Widgets"},
        {"$.pull_request.labels[*].name": "Urgent"},
        {"$.pull_request.labels[1].name": "urgent"},
        {"$.commits[?length(@.added) > 1].added": "a.txt"},
        {'$.pull_request.labels[?@.name == "bug"].name': "*"},
        {"$..added[0]": ["x", "requirements.*"]},
        {"$.deleted": False, "$.number": 7, "action": "opened"},
        {"action": "opened", "repository.private": True, "number": 7},
    ],
)
def test_a_payload_meets_conditions_that_it_fulfils(where: dict[str, Expected]) -> None:
    assert payload_matches(PAYLOAD, where)


@pytest.mark.parametrize(
    "where",
    [
        {"action": "closed"},
        {"action": "Opened"},
        {"repository.full_name": "other/*"},
        {"repository.full_name": []},
        {"repository": "acme/widgets"},
        {"repository.nothing": "*"},
        {"nothing.full_name": "*"},
        {"action.opened": "*"},
        {"installation.id": None},
        {"repository.private": "True"},
        {"number": "7"},
        {"number": True},
        {"pull_request.score": 1},
        {"repository.private": 1},
        {"deleted": 0},
        {"deleted": None},
        {"pull_request.labels.name": "feature"},
        {"pull_request.labels": "bug"},
        {"commits.removed": "*"},
        {"$.commits[*].removed": "*"},
        {"$.pull_request.labels[0].name": "urgent"},
        {'$.pull_request.labels[?@.name == "feature"].name': "*"},
        {"$.commits[1].added[0]": "*"},
        {"$.number": "7"},
        {"$.action": "Opened"},
        {"$.deleted": False, "$.number": 8},
        {"action": "opened", "repository.private": False},
    ],
)
def test_a_payload_does_not_meet_conditions_of_which_one_fails(where: dict[str, Expected]) -> None:
    assert not payload_matches(PAYLOAD, where)


def test_a_text_matches_itself_even_where_it_reads_as_a_glob() -> None:
    # The logins of GitHub Apps end in [bot], which as a glob is one letter of three.
    assert payload_matches(PAYLOAD, {"sender.login": "dependabot[bot]"})
    assert payload_matches(PAYLOAD, {"sender.login": "*[[]bot]"})


@given(text=st.text())
def test_every_text_matches_itself(text: str) -> None:
    assert payload_matches({"at": text}, {"at": text})


def test_a_list_on_the_way_stands_for_its_elements() -> None:
    assert list(values_at(PAYLOAD, ["commits", "added"])) == ["a.txt", "b/c.py", "requirements.txt"]
    assert list(values_at([[{"a": 1}], [[{"a": 2}]]], ["a"])) == [1, 2]
    assert list(values_at([], [])) == []


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [1, 1_000, 100_000])
def test_lists_may_nest_however_deep_at_a_path(depth: int) -> None:
    payload = {"commits": nested(depth, {"added": nested(depth, "a.txt")})}
    assert payload_matches(payload, {"commits.added": "a.*"})
    assert not payload_matches(payload, {"commits.added": "b.*"})


def test_of_a_wide_list_no_more_is_read_than_up_to_the_first_match() -> None:
    values = values_at([[1, *([[]] * 10)], [2]], [])
    assert next(values) == 1
    assert list(values) == [2]


paths = (st.text() | st.text().map("$.".__add__)).filter(lambda path: not path_fault(path))


@given(payload=st.dictionaries(st.text(), json_values), path=paths, expected=st.none() | st.booleans() | st.text())
def test_no_payload_whatever_raises(payload: dict[str, Any], path: str, expected: Expected) -> None:
    assert payload_matches(payload, {path: expected}) in (True, False)


@given(value=json_values)
def test_a_value_reached_by_no_step_is_itself_or_its_elements(value: Any) -> None:
    found = list(values_at(value, []))
    assert not any(isinstance(one, list) for one in found)
    assert isinstance(value, list) or found == [value]
