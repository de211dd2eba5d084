"""How long a request says that its body is. Nothing else here reads Content-Length or Transfer-Encoding."""

import re
from collections.abc import Mapping

_LENGTH = re.compile(r"0*([0-9]{1,18})")  # Not isdigit(), and not int(): both take other scripts' digits.


class LengthError(Exception):
    """A length or a transfer coding that is not understood."""


def announced_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the body in bytes, or None if it is chunked, so that only its end will tell.

    `headers` finds names in any case. A request with both headers never gets here as such: the server drops the
    length, and goes by the chunks alone (RFC 9112, 6.3).
    """
    coding = headers.get("Transfer-Encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise LengthError("The only transfer coding that is understood is chunked.")
        return None
    length = _LENGTH.fullmatch(headers.get("Content-Length", "0"))
    if length is None:
        raise LengthError("Content-Length is not a number of bytes.")
    return int(length[1])
