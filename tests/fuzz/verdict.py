"""What must come of an input, judged from its bytes alone and from what docs/promises.md and GitHub promise.

Written apart from the product on purpose: it shares no code with it but the pure functions of Python's own library.
Where HTTP leaves a server the choice, the verdict leaves it too.
"""

import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.support.deliveries import PATH
from tests.support.receiver_process import SECRET

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~]*[!-~])?|)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,40})[^\r\n]*\r?\n")
_GUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FORM = re.compile(rb"payload=((?:[A-Za-z0-9*._~+-]|%[0-9A-Fa-f]{2})*)")
_JSON_TYPE = re.compile(rb"application/json(; charset=utf-8)?", re.IGNORECASE)
_FORM_TYPE = re.compile(rb"application/x-www-form-urlencoded(; charset=utf-8)?", re.IGNORECASE)
_ON_THEIR_OWN = {b"connection", b"expect", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
_PLAIN_METHODS = {b"POST", b"GET", b"PUT", b"PATCH", b"DELETE"}
PLAIN_HEAD_BYTES, PLAIN_HEADERS = 8_000, 60
"""How much of a head every server takes."""
DEEPEST = 900
"""How deep whatever is to be accepted may nest: as deep as Python's own reader gets, and less than ours."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an input."""

    is_whole: bool
    """It waits for nothing more: an answer or the connection's end is due at once."""
    is_plain: bool
    """It is HTTP/1.1 beyond dispute, has one answer, and leaves the connection to the next."""
    must_be_accepted: bool
    must_be_refused: bool
    """However it is signed: its body is JSON for nobody."""
    method: bytes
    signed: tuple[uuid.UUID, bytes] | None
    """The GUID and the body, if the body is signed with the secret, however odd the rest."""


def judge(data: bytes) -> Verdict:
    stripped = data.lstrip(b"\r\n")
    blank = _BLANK_LINE.search(stripped)
    if blank is None:
        return Verdict(
            is_whole=False, is_plain=False, must_be_accepted=False, must_be_refused=False, method=b"", signed=None
        )
    head, rest = stripped[: blank.start()], stripped[blank.end() :]
    lines = _LINE_END.split(head)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    lengths = [int(value) for name, value in headers if name == b"content-length" and re.fullmatch(rb"\d{1,30}", value)]
    is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
    is_exact = (
        data == stripped and blank[0] == b"\r\n\r\n" and head.count(b"\n") == head.count(b"\r\n") == len(lines) - 1
    )
    is_sound = is_exact and all(_HEADER.fullmatch(line) for line in lines[1:])
    line = _REQUEST_LINE.fullmatch(lines[0]) if is_sound else None
    is_plain = line is not None and _is_plain(line, headers, head, rest)
    return Verdict(
        is_whole=_is_whole_in_chunks(rest) if is_chunked else len(rest) >= max(lengths, default=0),
        is_plain=is_plain,
        must_be_accepted=is_plain and line is not None and line[1] == b"POST" and _is_good(line[2], headers, rest),
        must_be_refused=is_plain and _is_json_for_nobody(headers, rest),
        method=lines[0].partition(b" ")[0],
        signed=_signed(headers, rest, lengths),
    )


def _is_plain(line: re.Match[bytes], headers: Sequence[tuple[bytes, bytes]], head: bytes, rest: bytes) -> bool:
    names = [name for name, _ in headers]
    return (
        line[1] in _PLAIN_METHODS
        and line[3] == b"1"
        and line[2].startswith(b"/")
        and len(head) < PLAIN_HEAD_BYTES
        and len(names) < PLAIN_HEADERS
        and names.count(b"host") == 1
        and not _ON_THEIR_OWN.intersection(names)
        and [value for name, value in headers if name == b"content-length"] == [b"%d" % len(rest)]
    )


def _signed(
    headers: Sequence[tuple[bytes, bytes]], rest: bytes, lengths: Sequence[int]
) -> tuple[uuid.UUID, bytes] | None:
    told = b" ".join(value for name, value in headers if name.replace(b"_", b"-") == b"x-hub-signature-256").lower()
    guid = _GUID.search(b" ".join(value for name, value in headers if name.replace(b"_", b"-") == b"x-github-delivery"))
    if guid is None:
        return None
    for body in (rest, _out_of_chunks(rest), *(rest[:length] for length in lengths)):
        if _digest(body) in told:
            return uuid.UUID(guid[0].decode()), body
    return None


def _out_of_chunks(rest: bytes) -> bytes:
    body = b""
    while size := _CHUNK_SIZE.match(rest):
        end = size.end() + int(size[1], 16)
        body += rest[size.end() : end]
        rest = rest[end:].lstrip(b"\r\n")
    return body


def _is_whole_in_chunks(rest: bytes) -> bool:
    """Tell whether the last chunk is here, or something that is no chunk: what merely breaks off waits for its rest."""
    while size := _CHUNK_SIZE.match(rest):
        end = size.end() + int(size[1], 16)
        if end == size.end():
            return rest.startswith(b"\r\n", end) or b"\r\n\r\n" in rest[end:]
        if len(rest) < end + 2:
            return False
        if rest[end : end + 2] != b"\r\n":
            return True
        rest = rest[end + 2 :]
    return b"\n" in rest


def _digest(body: bytes) -> bytes:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().encode()


def _is_good(target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Tell whether a request that is HTTP beyond dispute is a delivery as GitHub sends them."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    if target != PATH.encode() or values.get(b"x-hub-signature-256") != [b"sha256=" + _digest(body)]:
        return False
    return (
        _is_one(values, b"x-github-event", rb"[a-z][a-z_]{0,50}")
        and _is_one(values, b"x-github-delivery", _GUID.pattern)
        and (b"x-github-hook-id" not in values or _is_one(values, b"x-github-hook-id", rb"0|[1-9][0-9]{0,17}"))
        and len(values.get(b"content-type", ())) == 1
        and _is_payload(values[b"content-type"][0], body)
    )


def _is_one(values: dict[bytes, list[bytes]], name: bytes, pattern: bytes) -> bool:
    return len(values.get(name, ())) == 1 and re.fullmatch(pattern, values[name][0]) is not None


def _is_payload(content_type: bytes, body: bytes) -> bool:
    if _FORM_TYPE.fullmatch(content_type):
        form = _FORM.fullmatch(body)
        return form is not None and _is_object(unquote_to_bytes(form[1].replace(b"+", b" ")))
    return _JSON_TYPE.fullmatch(content_type) is not None and _is_object(body)


def _is_json_for_nobody(headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    types = [value for name, value in headers if name == b"content-type"]
    if len(types) != 1 or not _JSON_TYPE.fullmatch(types[0]):
        return False
    try:
        _value(body)
    except ValueError:
        return True
    except RecursionError:
        pass
    return False


def _is_object(text: bytes) -> bool:
    try:
        value = _value(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not _is_deep(value)


def _value(text: bytes) -> Any:
    """Return what Python's own reader makes of a text in UTF-8: lone surrogates, huge numbers and all, but no NaN.

    No number is looked at; Python would refuse an integer of more than 4,300 digits.
    """
    return json.loads(text.decode(errors="surrogatepass").removeprefix("\ufeff"), parse_constant=_refuse, parse_int=len)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner = [one for one in level if isinstance(one, (dict, list))]
        level = [one for holder in inner for one in (holder.values() if isinstance(holder, dict) else holder)]
    return bool(level)
