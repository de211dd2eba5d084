"""How long a request says that its body is. Nothing else here reads Content-Length or Transfer-Encoding."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from webhooks.receiver.replies import RefusedError, too_large

_LENGTH = re.compile(r"0*([0-9]{1,18})")  # Not isdigit(), and not int(): both take other scripts' digits.


@dataclass(frozen=True, slots=True)
class Announced:
    """The body that will follow a request's headers."""

    length: int | None
    """In bytes; None if the body is chunked, so that only its end will tell."""
    limit: int
    """How many bytes it may have."""


def announced_body(headers: Mapping[str, str], *, limit: int) -> Announced:
    """Return what the headers say of the body. Raises RefusedError if that is over the limit or not understood.

    `headers` finds names in any case. A request with both headers never gets here as such: the server drops the
    length, and goes by the chunks alone (RFC 9112, 6.3).
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
