"""The receiver's own replies, and the exception by which a request is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and a small JSON object."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request that is not served. `reply` says why, in a sentence for the sender."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.reply = Reply(status, {"error": sentence}, headers)


def too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"The body is over the limit of {limit:,} bytes.")
