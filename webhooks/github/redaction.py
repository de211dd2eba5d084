"""Replaces the values of a payload that JSON paths (RFC 9535) name. No I/O.

A path of names alone, such as `$.sender.email`, `$.commits[*].author.email` or `$..email`, is followed here: the
library takes many times as long for it, and each delivery waits for it. Every other path is the library's.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from webhooks.github.payload import PayloadError

if TYPE_CHECKING:
    from jsonpath import JSONPath

REDACTED = "[redacted]"
"""Stands in place of each value, whatever its type was."""

Place = tuple[Any, str | int]
"""An object or a list, and which of its values."""
_OPENING, _CLOSING, _QUOTES = "[(", "])", "'\""


class PathError(ValueError):
    """A text is no JSON path. The message does not show it."""


class Redaction:
    """The paths to redact by. Loads the library only if there is one."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises PathError."""
        self._paths = [(path, _compiled(path, number)) for number, path in enumerate(paths, start=1)]

    def redact(self, payload: dict[str, Any]) -> dict[str, int]:
        """Replace what the paths name, in place; return how many values each path has named, if any.

        What is named is found by all paths before anything is replaced. Raises PayloadError.
        """
        found = {path: _places(compiled, payload) for path, compiled in self._paths}
        for places in found.values():
            for container, key in places:
                container[key] = REDACTED
        return {path: len(places) for path, places in found.items() if places}


def split_paths(text: str) -> list[str]:
    """Split paths at commas and line ends, but not inside the brackets and quotes of a path."""
    paths, depth, quote, is_escaped = [""], 0, "", False
    for character in text:
        if quote:
            quote = "" if character == quote and not is_escaped else quote
            is_escaped = character == "\\" and not is_escaped
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in _OPENING) - (character in _CLOSING)
        if character in ",\n" and not quote and depth <= 0:
            paths.append("")
        else:
            paths[-1] += character
    return [path.strip() for path in paths if path.strip()]


def _compiled(path: str, number: int) -> "JSONPath":
    from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError

    try:
        compiled = JSONPathEnvironment(strict=True).compile(path)
    except JSONPathError as error:
        at = error.token.index + 1 if error.token is not None else 1
        raise PathError(f"path {number} is no JSON path of RFC 9535; look at its character {at}.") from None
    if not isinstance(compiled, JSONPath) or not compiled.segments:
        raise PathError(f"path {number} names the whole payload; name values inside it.")
    return compiled


def _places(path: "JSONPath", payload: dict[str, Any]) -> list[Place]:
    steps = [_step(segment) for segment in path.segments]
    if None in steps:
        return _by_library(path, payload)
    places: dict[tuple[int, str | int], Place] = {}
    values: Iterable[Any] = [payload]
    for names, is_descent in filter(None, steps):
        containers = (each for value in values for each in (_containers(value) if is_descent else [value]))
        # A descent from two values, one inside the other, meets the same places twice.
        places = {(id(place[0]), place[1]): place for each in containers for place in _named(each, names)}
        values = [container[key] for container, key in places.values()]
    return list(places.values())


def _step(segment: Any) -> tuple[Sequence[str] | None, bool] | None:
    """Return the names that a segment selects (None for all), and whether at any depth; None for others."""
    from jsonpath.segments import JSONPathRecursiveDescentSegment
    from jsonpath.selectors import NameSelector, WildcardSelector

    is_descent = isinstance(segment, JSONPathRecursiveDescentSegment)
    if all(type(one) is NameSelector for one in segment.selectors):
        return [one.name for one in segment.selectors], is_descent
    if len(segment.selectors) == 1 and type(segment.selectors[0]) is WildcardSelector:
        return None, is_descent
    return None


def _named(value: Any, names: Sequence[str] | None) -> Iterator[Place]:
    if isinstance(value, dict):
        yield from ((value, name) for name in (value if names is None else names) if name in value)
    elif isinstance(value, list) and names is None:
        yield from ((value, number) for number in range(len(value)))


def _containers(value: Any) -> Iterator[Any]:
    """Yield a value and all objects and lists inside it, however deeply they are nested."""
    rest = [value]
    while rest:
        one = rest.pop()
        yield one
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        rest += [each for each in inner if isinstance(each, dict | list)]


def _by_library(path: "JSONPath", payload: dict[str, Any]) -> list[Place]:
    from jsonpath import JSONPathError

    try:
        found = list(path.finditer(payload))
    except (JSONPathError, RecursionError):
        raise PayloadError("The payload nests too deeply for a path of HOOKLINE_REDACT.") from None
    places = [(each.parent.obj, each.parts[-1]) for each in found if each.parent is not None]
    return list({(id(container), key): (container, key) for container, key in places}.values())
