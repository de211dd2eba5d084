"""Which values JSON paths name, and what is left of them. Compared with the library for paths of names."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath import JSONPathEnvironment

from webhooks.github import json_paths
from webhooks.github.json_paths import PathError
from webhooks.github.payload import PayloadError
from webhooks.github.redaction import REDACTED, Redaction, split_paths

PAYLOAD: dict[str, Any] = {
    "sender": {"login": "octo", "email": "octo@example.com", "type": "User"},
    "commits": [
        {"id": 1, "author": {"email": "a@example.com", "name": "A"}, "email": None},
        {"id": 2, "author": {"email": "b@example.com", "name": "B"}},
    ],
    "a b": {"email": ["x", {"email": "deep"}]},
}
OF_NAMES = [
    "$.sender.email", "$['sender']['login']", "$..email", "$.commits[*].author.email", "$.commits..name",
    "$['sender', 'commits']", "$..['email','login']", "$..author..email", "$.*", "$..*", "$.nothing.here", "$.*.email",
]  # fmt: skip


def redacted(*paths: str, payload: Any = None) -> tuple[Any, dict[str, int]]:
    given = copy.deepcopy(PAYLOAD if payload is None else payload)
    return given, Redaction(paths).redact(given)


def by_the_library(path: str, payload: Any) -> Any:
    given = copy.deepcopy(payload)
    for found in list(JSONPathEnvironment(strict=True).compile(path).finditer(given)):
        assert found.parent is not None
        container: Any = found.parent.obj
        container[found.parts[-1]] = REDACTED
    return given


def test_values_are_replaced_whatever_their_type_and_counted_by_path() -> None:
    payload, hits = redacted("$.sender.email", "$.commits[*].id", "$.nothing", "$['a b']")
    assert payload["sender"] == {"login": "octo", "email": REDACTED, "type": "User"}
    assert [commit["id"] for commit in payload["commits"]] == [REDACTED, REDACTED]
    assert payload["a b"] == REDACTED
    assert hits == {"$.sender.email": 1, "$.commits[*].id": 2, "$['a b']": 1}


@pytest.mark.parametrize("path", OF_NAMES)
def test_a_path_of_names_finds_what_the_library_finds(path: str) -> None:
    assert redacted(path)[0] == by_the_library(path, PAYLOAD)


_JSON = st.recursive(
    st.none() | st.integers(0, 9) | st.text("ab", max_size=1),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "email"]), inner, max_size=3)
    ),
    max_leaves=20,
)
_STEP = st.sampled_from([".a", "..a", ".*", "..*", "['a','b']", "..['a','email']", "[*]", "..email", ".b"])


@given(
    payload=st.dictionaries(st.sampled_from(["a", "b", "email"]), _JSON, max_size=3),
    steps=st.lists(_STEP, min_size=1, max_size=3),
)
def test_any_path_of_names_finds_what_the_library_finds(payload: Any, steps: list[str]) -> None:
    path = "$" + "".join(steps)
    assert redacted(path, payload=payload)[0] == by_the_library(path, payload)


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("$.commits[1].author.name", ["A", REDACTED]),
        ("$.commits[-1:].author.name", ["A", REDACTED]),
        ("$..[?@.email == 'a@example.com'].name", [REDACTED, "B"]),
        ("$.commits[?match(@.author.name, '[A-B]')].author.name", [REDACTED, REDACTED]),
    ],
)
def test_every_path_of_the_standard_is_understood(path: str, left: list[str]) -> None:
    assert [commit["author"]["name"] for commit in redacted(path)[0]["commits"]] == left


def test_paths_are_all_found_before_anything_is_replaced() -> None:
    payload, hits = redacted("$.sender", "$.sender.email", "$..login")
    assert payload["sender"] == REDACTED
    assert hits == {"$.sender": 1, "$.sender.email": 1, "$..login": 1}


def test_a_payload_that_nests_deeply_is_redacted_or_refused_and_never_left_as_it_was() -> None:
    deep: Any = {"email": "x"}
    for _ in range(1_000):
        deep = {"a": deep}
    text = json.loads(json.dumps(0)), deep
    Redaction(["$..email"]).redact(text[1])
    inner = deep
    while "a" in inner:
        inner = inner["a"]
    assert inner == {"email": REDACTED}
    with pytest.raises(PayloadError, match="nests too deeply"):
        Redaction(["$..[?@.email]"]).redact(deep)


@pytest.mark.parametrize(
    "path",
    ["sender.email", "$.", "$.a[", "$..", "$.a b", "$.x | $.y", "^.a", "$.a.~", "$[?foo(@.a)]", "$[", "$.a,", "#"],
)
def test_what_is_no_path_is_refused_by_its_place_and_not_repeated(path: str) -> None:
    with pytest.raises(PathError, match=r"^path 2 is no JSON path of RFC 9535; look at its character \d+\.$"):
        Redaction(["$.a", path])


def test_the_whole_payload_cannot_be_redacted() -> None:
    with pytest.raises(PathError, match="path 1 names the whole payload"):
        Redaction(["$"])


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("$.sender.email, $..email", ["$.sender.email", "$..email"]),
        ("$['a','b'],$.c", ["$['a','b']", "$.c"]),
        ("$[?@.a == 'x,y'], $.c", ["$[?@.a == 'x,y']", "$.c"]),
        ("""$["a\\",b"], $.c""", ["""$["a\\",b"]""", "$.c"]),
        ("$[?match(@.a, 'b')]\n$.c\n", ["$[?match(@.a, 'b')]", "$.c"]),
        ("$['it]s'], $.c,, ", ["$['it]s']", "$.c"]),
        (" , ", []),
    ],
)
def test_paths_are_split_at_commas_outside_of_brackets_and_quotes(text: str, paths: list[str]) -> None:
    assert split_paths(text) == paths


def test_without_paths_the_library_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_paths, "_compiled", lambda *_: pytest.fail("It is loaded here alone."))
    assert Redaction([]).redact({"a": 1}) == {}
