"""Which subscriptions an event matches: declared conditions against the payload. No user code, no I/O."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from webhooks.github.json_paths import PathError, json_path
from webhooks.github.names import is_in_any_case

Scalar = str | int | bool | None
Expected = Scalar | list[Scalar] | tuple[Scalar, ...]
"""A value, a glob (any string), or a list of either, of which one must match."""

EVERY_EVENT = "*"


def event_matches(name: str, action: str, *, events: frozenset[str], actions: frozenset[str] | None) -> bool:
    """Tell whether an event's name and action are subscribed to. With None for `actions`, every action is."""
    return (name in events or EVERY_EVENT in events) and (actions is None or action in actions)


def payload_matches(payload: Mapping[str, Any], where: Mapping[str, Expected]) -> bool:
    """Tell whether the payload meets every condition. If the payload lacks a path, that condition is not met.

    A path is dotted, or a JSON path (RFC 9535), which begins with `$`.
    """
    return all(_meets(payload, path, expected) for path, expected in where.items())


def path_fault(path: str) -> str:
    """Return what is wrong with a path of a condition; empty if nothing is."""
    if not is_json_path(path):
        return "" if all(path.split(".")) else "has an empty key."
    try:
        json_path(path)
    except PathError as error:
        return str(error)
    return ""


def is_json_path(path: str) -> bool:
    """Tell whether a path of a condition is a JSON path, and not a dotted one."""
    return path == "$" or path.startswith(("$.", "$["))


def _meets(payload: Mapping[str, Any], path: str, expected: Expected) -> bool:
    if is_json_path(path):
        compiled = json_path(path)
        keys, values = compiled.keys, _elements(place[key] for place, key in compiled.places(dict(payload)))
    else:
        keys, values = path, values_at(payload, path.split("."))
    in_any_case = is_in_any_case(keys)
    return any(_equals(value, expected, in_any_case=in_any_case) for value in values)


def values_at(value: Any, path: list[str]) -> Iterator[Any]:
    """Yield the values at a path of keys. If there is a list on the path, each of its elements is followed."""
    values = _elements((value,))
    for key in path:
        values = _elements(_members(values, key))
    return values


def _members(values: Iterable[Any], key: str) -> Iterator[Any]:
    return (value[key] for value in values if isinstance(value, Mapping) and key in value)


def _elements(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values; of a list, its elements instead. Without recursion, since a sender may nest lists deeply."""
    entered = [iter(values)]
    while entered:
        for value in entered[-1]:
            if isinstance(value, list):
                entered.append(iter(value))
                break
            yield value
        else:
            entered.pop()


def _equals(value: Any, expected: Expected, *, in_any_case: bool) -> bool:
    if isinstance(expected, (list, tuple)):
        return any(_equals(value, one, in_any_case=in_any_case) for one in expected)
    if isinstance(expected, str):
        if not isinstance(value, str):
            return False
        if in_any_case:
            value, expected = value.lower(), expected.lower()
        # Compared as text first: as a glob, "dependabot[bot]" would mean "dependabot" and one of the letters b, o, t.
        return value == expected or fnmatchcase(value, expected)
    # True and 1 are equal in Python, but different values in JSON.
    return type(value) is type(expected) and bool(value == expected)
