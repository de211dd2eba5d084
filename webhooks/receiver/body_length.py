"""The length of the body that a request announces. Only this module reads Content-Length and Transfer-Encoding."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from webhooks.receiver.replies import RefusedError, too_large

_LENGTH = re.compile(r"0*([0-9]{1,18})")  # isdigit() and int() would also accept digits of other scripts.


@dataclass(frozen=True, slots=True)
class Announced:
    """The body that will follow a request's headers."""

    length: int | None
    """In bytes; None if the body is chunked, so that the length is known only at its end."""
    limit: int
    """How many bytes it may have."""


def announced_body(headers: Mapping[str, str], *, limit: int) -> Announced:
    """Return what the headers say of the body. Raises RefusedError if that is over the limit or not understood.

    `headers` finds names in any case. A request never has both headers here: if it came with both, the server has
    dropped the length, and uses the chunks (RFC 9112, 6.3).
    """
    coding = headers.get("Transfer-Encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise RefusedError(400, "The only transfer coding that is understood is chunked.")
        return Announced(None, limit)
    length = _LENGTH.fullmatch(headers.get("Content-Length", "0"))
    if length is None:
        raise RefusedError(400, "Content-Length is not a number of bytes.")
    if int(length[1]) > limit:
        raise too_large(limit)
    return Announced(int(length[1]), limit)
