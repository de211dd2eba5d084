"""Reads JSON, and what other readers take besides: lone surrogates, numbers beyond every float, a byte-order mark.

GitHub cuts texts at lengths, and so perhaps in the middle of an escaped pair of surrogates. orjson refuses such a
document whole. It is then rewritten and read by orjson once more, never by another reader: Python's own nests as deep
as the stack allows, and would take in the receiver what it refuses in a worker. No I/O.
"""

import re
import sys
from typing import Any

import orjson

DEEPEST = 1024
"""How many objects and lists may stand one inside the other, the outermost one counted. It is orjson's limit."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
_RAW_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
# Escaped backslashes are passed over, since what follows them is text; a whole pair is one character.
_ESCAPED_SURROGATE = re.compile(
    rb"(?:\\\\)++|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
# Strings are passed over. One that does not end takes the rest, or each quote in it would begin another search.
_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)', re.DOTALL)


def loads(text: bytes) -> Any:
    """Return the value that a JSON document stands for. Raises ValueError.

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


def _rewritten(text: bytes) -> bytes:
    text = _RAW_SURROGATE.sub(_REPLACEMENT, text.removeprefix(_BYTE_ORDER_MARK))
    text = _ESCAPED_SURROGATE.sub(lambda found: _REPLACEMENT if found[1] else found[0], text)
    return _NUMBER.sub(_within_floats, text)


def _within_floats(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        return found[0]
    largest = sys.float_info.max
    number = float(found[1])
    return found[1] if abs(number) <= largest else repr(largest if number > 0 else -largest).encode()
