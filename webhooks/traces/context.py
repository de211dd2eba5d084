"""The trace that a delivery and its runs belong to, as a W3C `traceparent`: https://www.w3.org/TR/trace-context/

It is stored among the delivery's headers if the request brought one, or if the receiver writes traces itself. Else the
delivery's GUID stands in for it: it has as many digits as a trace id, and costs nothing. No I/O, and no OpenTelemetry.
"""

import re
from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class HasTrace(Protocol):
    """A row of a delivery, or what has its GUID and its stored headers."""

    @property
    def guid(self) -> UUID: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def trace_id_of(delivery: HasTrace) -> str:
    """Return the trace id that the log lines of a delivery, of its jobs and of their handlers have in common."""
    return trace_id(delivery.headers.get(HEADER), delivery.guid)


def trace_id(traceparent: str | None, guid: UUID) -> str:
    return continued(traceparent, guid)[3:35]


def continued(traceparent: str | None, guid: UUID) -> str:
    """Return the traceparent that runs of a delivery continue: the stored one, or one made of the GUID."""
    return traceparent or f"00-{guid.hex}-{guid.hex[16:]}-01"


def is_valid(traceparent: str) -> bool:
    """Tell whether a header's value may be stored. What it names need not exist: anybody may send it."""
    return _TRACEPARENT.fullmatch(traceparent) is not None
