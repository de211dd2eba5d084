"""JSON that orjson alone would refuse, and what it must go on refusing."""

import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.github.json_text import DEEPEST, loads

GONE = "\N{REPLACEMENT CHARACTER}"
LARGEST = sys.float_info.max

texts = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from('\\"ud8'))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**320), 10**320) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def readable(value: Any) -> Any:
    """Return what a handler gets for a value that Python's own reader returns."""
    if isinstance(value, str):
        return "".join(GONE if "\ud800" <= character <= "\udfff" else character for character in value)
    if isinstance(value, dict):
        return {readable(key): readable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [readable(one) for one in value]
    if type(value) is float and math.isinf(value):
        return math.copysign(LARGEST, value)
    if type(value) is int and not -(2**63) <= value < 2**64:
        return max(-LARGEST, min(float(str(value)), LARGEST))
    return value


@given(value=values)
def test_what_pythons_own_reader_takes_is_read(value: Any) -> None:
    text = json.dumps(value).replace("Infinity", "1e999")
    assert loads(text.encode()) == readable(json.loads(text))


@given(value=values)
def test_surrogates_that_are_not_escaped_are_read_too(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False).replace("Infinity", "1e999")
    assert loads(text.encode(errors="surrogatepass")) == readable(json.loads(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"\ud83d"', GONE),
        (rb'"cut off \uD83D"', f"cut off {GONE}"),
        (rb'"\ude00"', GONE),
        (rb'"\ude00\ud83d"', GONE * 2),
        (rb'"\ud83d\ud83d\ude00"', f"{GONE}\N{GRINNING FACE}"),
        (rb'"\ud83d\u0041"', f"{GONE}A"),
        (rb'"\ud83d" ', GONE),
        (rb'["\\ud83d", "\ud83d"]', ["\\ud83d", GONE]),
        (rb'["\\\ud83d\\\\", 1]', [f"\\{GONE}\\\\", 1]),
        (rb'{"\ud83d": 1}', {GONE: 1}),
        (b'"\xed\xa0\xbd"', GONE),
        (b'"\xed\xa0\xbd\xed\xb8\x80"', GONE * 2),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (rb'["\ud83d 1e999", 7, -0.5]', [f"{GONE} 1e999", 7, -0.5]),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"9" * 400, LARGEST),
        (b"-" + b"9" * 5_000, -LARGEST),
        (b"1e400", LARGEST),
        (b"-1E+99999999999999999999", -LARGEST),
        (b"[1e400, 1" + b"0" * 400 + b"e-200, 1e-400]", [LARGEST, 1e200, 0.0]),
    ],
)
def test_what_orjson_refuses_has_its_documented_form(text: bytes, value: Any) -> None:
    assert loads(text) == value


@pytest.mark.parametrize(
    "text",
    [
        rb'"\ud83',
        rb'"\ud83d',
        rb'{"a": "\ud83d",}',
        rb'["\ud83d\"',
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xf4\x90\x80\x80"',
        b"\xed\xa0\xbd",
        b"NaN",
        b"[Infinity, 1e400]",
        b"-Infinity",
        b"01e400",
        b"1e400e400",
        b"+1e400",
        b"1e400.",
        b"1.e400",
        b"--1e400",
        b'"' + rb"\"" * 200_000,
        b"9" * 400_000 + b"x",
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_json_stays_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  Nobody reads its message.
        loads(text)


@pytest.mark.parametrize("last", [b"1", rb'"\ud83d"', b"1e400"])
def test_how_deep_a_document_may_nest_does_not_depend_on_what_it_holds(last: bytes) -> None:
    loads(b"[" * DEEPEST + last + b"]" * DEEPEST)
    with pytest.raises(ValueError, match="depth"):
        loads(b"[" * (DEEPEST + 1) + last + b"]" * (DEEPEST + 1))
