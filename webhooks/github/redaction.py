"""Replaces the values of a payload that JSON paths name. No I/O."""

from collections.abc import Sequence
from typing import Any

from webhooks.github.json_paths import JsonPath, PathError, split_at
from webhooks.github.payload import PayloadError

REDACTED = "[redacted]"
"""Stands in place of each value, whatever its type was."""


class Redaction:
    """The paths to redact by."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises PathError."""
        self._paths = [(path, _numbered(path, number)) for number, path in enumerate(paths, start=1)]

    def redact(self, payload: dict[str, Any]) -> dict[str, int]:
        """Replace what the paths name, in place; return how many values each path has named, if any.

        What is named is found by all paths before anything is replaced. Raises PayloadError.
        """
        try:
            found = {text: path.places(payload) for text, path in self._paths}
        except RecursionError:
            raise PayloadError("The payload nests too deeply for a path of HOOKLINE_REDACT.") from None
        for places in found.values():
            for container, key in places:
                container[key] = REDACTED
        return {text: len(places) for text, places in found.items() if places}


def split_paths(text: str) -> list[str]:
    """Split paths at commas and line ends, but not inside the brackets and quotes of a path."""
    return list(filter(None, split_at(text, ",\n")))


def _numbered(path: str, number: int) -> JsonPath:
    try:
        return JsonPath(path)
    except PathError as error:
        raise PathError(f"path {number} {error}") from None
