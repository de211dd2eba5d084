"""What is called lost below is declared, and no name holds it; what is called found is a subscription."""

import functools
from collections.abc import Callable
from typing import Any

import lost_library  # type: ignore[import-not-found]  # noqa: F401
from shelved_bot.handlers import helper  # type: ignore[import-not-found]  # noqa: F401

from lost_bot.jobs import imported_by_name  # type: ignore[import-not-found]  # noqa: F401
from webhooks import Event, on


def forgetful(function: Callable[..., Any]) -> Callable[..., Any]:
    def outer(*given: Any) -> Any:
        return function(*given)

    return outer


def careful(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def outer(*given: Any) -> Any:
        return f"outer, {function(*given)}"

    return outer


@on("push")
def shadowed(event: Event) -> str:
    return "lost"


@on("push")  # type: ignore[no-redef]
def shadowed(event: Event) -> str:  # noqa: F811
    return "found"


class LostMethods:
    @on("push")
    def lost_method(self, event: Event) -> None: ...

    @staticmethod
    @on("push")
    def lost_static(event: Event) -> None: ...

    @on("push")
    @staticmethod
    def lost_static_above(event: Event) -> None: ...

    @classmethod
    @on("push")
    def lost_class_method(cls, event: Event) -> None: ...

    def bound(self, event: Event) -> None: ...


def _nest() -> None:
    @on("push")
    def lost_nested(event: Event) -> None: ...


_nest()
on("push")(lambda event: None)
on("push")(functools.partial(print, "lost"))
lost_bound = on("push")(LostMethods().bound)
in_a_list = [on("push")(lambda event: None)]
for _number in range(2):
    found_of_two = on("push")(lambda event: None)


@on("push")
def lost_deleted(event: Event) -> None: ...


del lost_deleted


@forgetful
@on("push")
def lost_mark(event: Event) -> None: ...


@careful
@on("push")
def found_wrapped(event: Event) -> str:
    return "inner"


found_partial = on("push")(functools.partial(lambda word, event: f"{word} {event}", "partial"))
found_lambda = on("push")(lambda event: "lambda")

if True:

    @on("push")
    def found_conditional(event: Event) -> None: ...
else:

    @on("push")
    def found_conditional(event: Event) -> None: ...
