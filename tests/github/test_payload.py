"""Reading a verified body: JSON, GitHub's form, and what the inbox keeps beside it."""

import contextlib
import json
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.github.payload import (
    FORM,
    JSON,
    LARGEST_ID,
    PayloadError,
    PayloadTooLargeError,
    Summary,
    parse,
    summarise,
)

NOTHING = Summary(action="", repository="", installation_id=None, sender="")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
json_objects = st.dictionaries(st.text(), json_values, max_size=6)


def form(text: str) -> bytes:
    return urlencode({"payload": text}).encode()


@given(payload=json_objects)
def test_an_object_comes_back_as_it_was_sent(payload: dict[str, Any]) -> None:
    text = json.dumps(payload)
    assert parse(text.encode(), content_type=JSON) == payload
    assert parse(form(text), content_type=FORM) == payload


@given(payload=json_objects)
def test_text_that_is_not_escaped_comes_back_as_it_was_sent(payload: dict[str, Any]) -> None:
    text = json.dumps(payload, ensure_ascii=False)
    assert parse(text.encode(), content_type=JSON) == payload
    assert parse(form(text), content_type=FORM) == payload


@given(body=st.binary(), content_type=st.sampled_from([JSON, FORM]))
def test_any_bytes_are_an_object_or_a_payload_error(body: bytes, content_type: str) -> None:
    with contextlib.suppress(PayloadError):
        assert isinstance(parse(body, content_type=content_type, limit_bytes=1000), dict)


@given(text=st.text(alphabet='{}[]",:0123456789.eE+-\\untrflas \x00\ud800é', max_size=40))
def test_anything_like_json_is_an_object_or_a_payload_error(text: str) -> None:
    for body, content_type in (
        (text.encode(errors="surrogatepass"), JSON),
        (b"payload=" + quote_plus(text, errors="surrogatepass").encode(), FORM),
    ):
        with contextlib.suppress(PayloadError):
            summarise(parse(body, content_type=content_type))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a": 1',
        b'{"a": 1} trailing',
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\x00"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_what_is_not_well_formed_is_refused_without_repeating_it(body: bytes) -> None:
    with pytest.raises(PayloadError, match=r"^The payload is not JSON, or nests deeper than 1,024 levels\.$") as caught:
        parse(body, content_type=JSON)
    # The decoder's error holds the whole document; it must not come along.
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("body", [b"[]", b'[{"action": "opened"}]', b'"text"', b"7", b"null", b"true"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="must be a JSON object"):
        parse(body, content_type=JSON)


def test_a_nul_that_is_escaped_is_well_formed() -> None:
    assert parse(b'{"a": "\\u0000"}', content_type=JSON) == {"a": "\0"}


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse(b'{"a": "\\ud83d\\ude00"}', content_type=JSON) == {"a": "\N{GRINNING FACE}"}


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert parse(b'{"action": "opened", "action": "closed"}', content_type=JSON) == {"action": "closed"}


@pytest.mark.parametrize("number", [b"18446744073709551616", b"9" * 30, b"-" + b"9" * 5000, b"1e400"])
def test_a_huge_number_is_read_and_is_nobodys_id(number: bytes) -> None:
    payload = parse(b'{"installation": {"id": %s}}' % number, content_type=JSON)
    assert summarise(payload) == NOTHING


@pytest.mark.parametrize("text", [r"\ud83d", "\ud83d"])
def test_a_lone_surrogate_is_read_as_the_replacement_character(text: str) -> None:
    body = f'{{"sender": {{"login": "{text}"}}}}'.encode(errors="surrogatepass")
    for parsed in (
        parse(body, content_type=JSON),
        parse(b"payload=" + quote_plus(body).encode(), content_type=FORM),
    ):
        assert summarise(parsed).sender == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"payload=",
        b"other=%7B%7D",
        b"payload=%7B%7D&payload=%7B%7D",
        b"payload=%ff",
        b"payload={}&broken",
        "payload={é}".encode(),
        b"&".join([b"a=1"] * 20 + [b"payload={}"]),
    ],
)
def test_a_form_without_one_readable_payload_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="one field named payload"):
        parse(body, content_type=FORM)


def test_other_fields_of_a_form_are_passed_over() -> None:
    assert parse(b"a=1&payload=%7B%7D&b=2", content_type=FORM) == {}


@pytest.mark.parametrize(("body", "content_type"), [(b'{"a": 1}', JSON), (form('{"a": 1}'), FORM)])
def test_the_limit_is_on_the_payload_and_not_on_the_form_around_it(body: bytes, content_type: str) -> None:
    assert parse(body, content_type=content_type, limit_bytes=8) == {"a": 1}
    with pytest.raises(PayloadTooLargeError, match="over the limit of 7 bytes"):
        parse(body, content_type=content_type, limit_bytes=7)


def test_the_summary_is_what_githubs_members_say() -> None:
    payload = {
        "action": "opened",
        "repository": {"full_name": "acme/widgets"},
        "installation": {"id": 7},
        "sender": {"login": "dependabot[bot]"},
    }
    assert summarise(payload) == Summary(
        action="opened", repository="acme/widgets", installation_id=7, sender="dependabot[bot]"
    )


def test_the_summary_of_nothing_is_empty() -> None:
    assert summarise({}) == NOTHING


@pytest.mark.parametrize("value", [None, True, 7, 7.5, "", [], ["opened"], {}, {"a": 1}, "a" * 101, "nul\0"])
def test_an_action_of_another_type_or_length_counts_as_absent(value: Any) -> None:
    assert summarise({"action": value}) == NOTHING


@pytest.mark.parametrize("value", [None, True, 7, "acme/widgets", [], [{"full_name": "acme/widgets"}], {}])
def test_a_member_that_is_no_object_counts_as_absent(value: Any) -> None:
    assert summarise({"repository": value, "installation": value, "sender": value}) == NOTHING


@pytest.mark.parametrize("value", [None, True, 7, [], {}, "a" * 256, "nul\0"])
def test_a_name_of_another_type_or_length_counts_as_absent(value: Any) -> None:
    assert summarise({"repository": {"full_name": value}, "sender": {"login": value}}) == NOTHING


@pytest.mark.parametrize("value", [None, True, "7", 7.0, -1, LARGEST_ID + 1, [], {}])
def test_an_id_of_another_type_or_size_counts_as_absent(value: Any) -> None:
    assert summarise({"installation": {"id": value}}) == NOTHING


@pytest.mark.parametrize("value", [0, 1, LARGEST_ID])
def test_an_id_that_the_inbox_can_hold_is_kept(value: int) -> None:
    assert summarise({"installation": {"id": value}}).installation_id == value


members = st.sampled_from(["action", "repository", "installation", "sender"])
inner = json_values | st.dictionaries(st.sampled_from(["full_name", "id", "login"]), json_values)


@given(payload=st.dictionaries(members, inner))
def test_every_summary_fits_the_inbox(payload: dict[str, Any]) -> None:
    found = summarise(payload)
    for text, longest in ((found.action, 100), (found.repository, 255), (found.sender, 100)):
        assert len(text) <= longest
        assert "\0" not in text
    assert found.installation_id is None or 0 <= found.installation_id <= LARGEST_ID
