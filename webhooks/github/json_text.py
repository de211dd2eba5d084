"""Reads and writes JSON, including what orjson refuses: lone surrogates, numbers too large for a float, a byte-order
mark, deep nesting.

GitHub cuts long texts, sometimes in the middle of an escaped pair of surrogates, and orjson then refuses the whole
document. Such a document is rewritten and read by orjson again. Python's own reader is not used: how deeply a document
may be nested depends on its stack, so that a worker might refuse a document that the receiver has accepted. No I/O.
"""

import json
import re
import sys
from typing import Any

import orjson

DEEPEST = 1024
"""How deeply objects and lists may be nested, the outermost one counted. It is orjson's limit."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
_RAW_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_LONE = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_STRING = rb'"(?:[^"\\]++|\\.)*+"?+'
_SMALL = rb"[0-9]{1,308}+(?![0-9])(?:\.[0-9]++)?+(?![eE])"
_NUMBER = rb"(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"


def _next(wanted: bytes, *passed_over: bytes) -> re.Pattern[bytes]:
    """Return a pattern that matches text to pass over, and then: what is wanted, or any other byte, or the end.

    It matches at every position, so that no byte is read twice, and a megabyte without a find is one match.
    """
    return re.compile(b"((?:%b)*+)(?:(%b)|.|\\Z)" % (b"|".join(passed_over), wanted), re.DOTALL)


# An escaped backslash is passed over, since the text after it is no escape; so is a whole pair: it is one character.
_LONE_SURROGATE = _next(_LONE, rb"[^\\]++", rb"\\[^u]", rb"\\u(?![dD][89a-fA-F])", _PAIR)
# A string without an end reaches to the end of the text.
_LARGE_NUMBER = _next(_NUMBER, rb'[^"0-9]++', _STRING, _SMALL)


def loads(text: bytes) -> Any:
    """Return the value of a JSON document. Raises ValueError.

    A lone surrogate becomes U+FFFD; an integer beyond 64 bits becomes the nearest float, and a number beyond every
    float the largest one.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        rewritten = _rewritten(text)
        if rewritten == text:
            raise
    return orjson.loads(rewritten)


def dumps(value: Any) -> bytes:
    """Return a value as a JSON document. Raises ValueError if it nests too deeply to be written."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # It reads what nests deeper than it writes.
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except RecursionError:
        raise ValueError("It nests too deeply.") from None


def _rewritten(text: bytes) -> bytes:
    text = _RAW_SURROGATE.sub(_REPLACEMENT, text.removeprefix(_BYTE_ORDER_MARK))
    text = _LONE_SURROGATE.sub(lambda found: found[1] + _REPLACEMENT if found[2] else found[0], text)
    return _LARGE_NUMBER.sub(_within_floats, text)


def _within_floats(found: re.Match[bytes]) -> bytes:
    is_beyond = found[2] and float(found[2]) == float("inf")
    return found[1] + repr(sys.float_info.max).encode() if is_beyond else found[0]
