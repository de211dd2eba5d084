"""JSON paths (RFC 9535), followed in a payload. No I/O.

A path of names alone, such as `$.sender.email`, `$.commits[*].author.email` or `$..email`, is followed here: the
library takes many times as long for it, and each delivery waits for it. Every other path is the library's. It is loaded
with the first path.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonpath import JSONPath as Compiled

Place = tuple[Any, str | int]
"""An object or a list, and which of its values."""
_Step = tuple[Sequence[str] | None, bool]
"""The names that a segment of a path selects, None for all; and whether at any depth."""
_OPENING, _CLOSING, _QUOTES = "[(", "])", "'\""


class PathError(ValueError):
    """A text is no JSON path. The message does not show it, and begins with a verb: what does not fit is before it."""


class JsonPath:
    """A path, compiled."""

    def __init__(self, text: str) -> None:
        """Raises PathError."""
        self._path = _compiled(text)
        steps = [_step(segment) for segment in self._path.segments]
        self._steps = None if None in steps else [step for step in steps if step]
        self.keys = ".".join(filter(None, map(_only_name, self._path.segments)))
        """Its names, as a dotted path: what lies between them is left out."""

    def places(self, payload: dict[str, Any]) -> list[Place]:
        """Return where the values are that the path selects, each once. Raises RecursionError."""
        return _by_library(self._path, payload) if self._steps is None else _by_names(self._steps, payload)


json_path = lru_cache(maxsize=1_000)(JsonPath)
"""The path that a text is. Raises PathError."""


def split_at(text: str, separators: str) -> list[str]:
    """Split a text at separators, but not inside the brackets and quotes of a path."""
    parts, depth, quote, is_escaped = [""], 0, "", False
    for character in text:
        if quote:
            quote = "" if character == quote and not is_escaped else quote
            is_escaped = character == "\\" and not is_escaped
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in _OPENING) - (character in _CLOSING)
        if character in separators and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _compiled(text: str) -> "Compiled":
    from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError

    try:
        compiled = JSONPathEnvironment(strict=True).compile(text)
    except JSONPathError as error:
        at = error.token.index + 1 if error.token is not None else 1
        raise PathError(f"is no JSON path of RFC 9535; look at its character {at}.") from None
    if not isinstance(compiled, JSONPath) or not compiled.segments:
        raise PathError("names the whole payload; name values inside it.")
    return compiled


def _by_names(steps: Sequence[_Step], payload: dict[str, Any]) -> list[Place]:
    places: dict[tuple[int, str | int], Place] = {}
    values: Iterable[Any] = [payload]
    for names, is_descent in steps:
        containers = (each for value in values for each in (_containers(value) if is_descent else [value]))
        # A descent from two values, one inside the other, meets the same places twice.
        places = {(id(place[0]), place[1]): place for each in containers for place in _named(each, names)}
        values = [container[key] for container, key in places.values()]
    return list(places.values())


def _step(segment: Any) -> _Step | None:
    """Return what a segment selects, if that is names or all; else None."""
    from jsonpath.segments import JSONPathRecursiveDescentSegment
    from jsonpath.selectors import NameSelector, WildcardSelector

    is_descent = isinstance(segment, JSONPathRecursiveDescentSegment)
    if all(type(one) is NameSelector for one in segment.selectors):
        return [one.name for one in segment.selectors], is_descent
    if len(segment.selectors) == 1 and type(segment.selectors[0]) is WildcardSelector:
        return None, is_descent
    return None


def _only_name(segment: Any) -> str:
    """Return the one name that a segment selects; empty if it selects anything else."""
    names, _ = _step(segment) or (None, False)
    return names[0] if names and len(names) == 1 else ""


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


def _by_library(path: "Compiled", payload: dict[str, Any]) -> list[Place]:
    from jsonpath import JSONPathError

    try:
        found = list(path.finditer(payload))
    except (JSONPathError, RecursionError):
        raise RecursionError("The payload nests too deeply for a path with a filter, a slice or an index.") from None
    places = [(each.parent.obj, each.parts[-1]) for each in found if each.parent is not None]
    return list({(id(container), key): (container, key) for container, key in places}.values())
