"""Reads JSON, including what orjson refuses: lone surrogates, numbers too large for a float, a byte-order mark.

GitHub cuts long texts, perhaps in the middle of an escaped pair of surrogates, and orjson refuses the whole document
then. Such a document is rewritten and read by orjson again. Python's own reader is not used: how deep a document it
accepts depends on the stack, so that a worker might refuse what the receiver has accepted. No I/O.
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
_LONE = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_STRING = rb'"(?:[^"\\]++|\\.)*+"?+'
_SMALL = rb"[0-9]{1,308}+(?![0-9])(?:\.[0-9]++)?+(?![eE])"
_NUMBER = rb"(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"


def _next(wanted: bytes, *passed_over: bytes) -> re.Pattern[bytes]:
    """Return a pattern of the text up to what is wanted, or up to a byte that is neither, or to the end.

    It matches wherever it is tried, so that no byte is looked at twice, and a megabyte without a find is one match.
    """
    return re.compile(b"((?:%b)*+)(?:(%b)|.|\\Z)" % (b"|".join(passed_over), wanted), re.DOTALL)


# Escaped backslashes are passed over, since what follows them is text; a whole pair is one character.
_LONE_SURROGATE = _next(_LONE, rb"[^\\]++", rb"\\[^u]", rb"\\u(?![dD][89a-fA-F])", _PAIR)
# A string that does not end takes the rest of the text.
_LARGE_NUMBER = _next(_NUMBER, rb'[^"0-9]++', _STRING, _SMALL)


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
    text = _LONE_SURROGATE.sub(lambda found: found[1] + _REPLACEMENT if found[2] else found[0], text)
    return _LARGE_NUMBER.sub(_within_floats, text)


def _within_floats(found: re.Match[bytes]) -> bytes:
    is_beyond = found[2] and float(found[2]) == float("inf")
    return found[1] + repr(sys.float_info.max).encode() if is_beyond else found[0]
