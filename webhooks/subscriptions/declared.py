"""Keeps every declaration that `@on` has made in this process, with its place, to report those that would never run.

A declared function is collected only if it has a name at the top level of an app's `handlers.py`. Without this record,
other functions would be lost silently: a method, one in another module, or the first of two with the same name.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(frozen=True, slots=True)
class Declared:
    """A declaration with the place that made it."""

    declaration: object
    name: str
    """The declared function's name, with its module."""
    module: str
    file: str
    line: int
    spec: object
    """The module's `__spec__` at that time: a module that is executed again has another one."""

    @property
    def is_current(self) -> bool:
        """Tell whether its module has not been reloaded or removed since."""
        return getattr(sys.modules.get(self.module), "__spec__", None) is self.spec

    def is_in(self, package: str) -> bool:
        """Tell whether the module is in this package. Tests in it do not count: they may declare anything."""
        inside = f"{self.module}.".removeprefix(f"{package}.")
        is_test = any(part.startswith("test") or part == "conftest" for part in inside.split("."))
        return f"{self.module}.".startswith(f"{package}.") and not is_test


_declared: list[Declared] = []


def remember(declaration: object, function: Any, *, declared_in: FrameType) -> None:
    """Keep a declaration that this frame has just made."""
    module = declared_in.f_globals.get("__name__", "")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    _declared.append(
        Declared(
            declaration,
            name=f"{getattr(function, '__module__', module)}.{name}",
            module=module,
            file=declared_in.f_code.co_filename,
            line=declared_in.f_lineno,
            spec=declared_in.f_globals.get("__spec__"),
        )
    )


def declared_so_far() -> tuple[Declared, ...]:
    return tuple(_declared)


def not_held(held: Iterable[object]) -> Iterator[Declared]:
    """Yield the declarations that are not among these, in the order in which they were made."""
    known = {id(declaration) for declaration in held}
    return (one for one in declared_so_far() if id(one.declaration) not in known and one.is_current)
