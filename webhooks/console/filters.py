"""The filters of a list: its search box and its form, both in the URL, read into one `Search`; and their chips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils import timezone

from webhooks.console import search
from webhooks.console.search import QUALIFIERS, Search
from webhooks.github.event_names import EVENT_NAMES
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

PLACES = ("after", "before")
"""The parameters that name a page of the list. A changed filter begins at the first page."""
_NOTHING = (None, "")


@dataclass(frozen=True, slots=True)
class Chip:
    """One filter that holds, and the query of the same list without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the URL of a list asks for, and what `console/_filters.html` shows of it."""

    search: Search
    text: str
    """What stands in the search box."""
    given: dict[str, str]
    """What stands in each field of the form."""
    chips: Sequence[Chip]
    query: str
    """The URL's query without the page: what a saved view keeps."""
    choices: dict[str, Sequence[str]]
    """The names that the form offers. Others work too."""

    @property
    def is_empty(self) -> bool:
        return self.search.is_empty

    @property
    def is_form_used(self) -> bool:
        """Tell whether a field of the form is set, beside the search box."""
        return bool(self.given)


def read(request: HttpRequest) -> Filters:
    """Return the filters in the URL: `q` is the search box, each field of the form is a parameter of its own."""
    query = request.GET.copy()
    for name in PLACES:
        query.pop(name, None)
    text = search.cleaned(query.get("q", "")).strip()
    wanted, given = from_parameters(query, now=timezone.now())
    return Filters(
        search=wanted,
        text=text,
        given=given,
        chips=tuple(_chips(wanted, given, text, query)),
        query=query.urlencode(),
        choices=_choices(),
    )


def from_parameters(values: QueryDict | dict[str, str], *, now: datetime) -> tuple[Search, dict[str, str]]:
    """Return what the parameters ask for, and those of the form that are set, as they were given.

    If the search box names the same filter, it holds, and the form's is a problem.
    """
    found = search.parse(values.get("q", ""), now=now)
    given = {each.field: text for each in QUALIFIERS if (text := search.cleaned(values.get(each.field) or "").strip())}
    problems, changes = list(found.problems), dict[str, Any]()
    for field, text in given.items():
        try:
            changes[field] = search.field_of(field, text, now=now)
        except ValueError as error:
            problems.append(str(error))
    for field in [name for name in changes if getattr(found, name) not in _NOTHING]:
        if getattr(found, field) != changes.pop(field):
            problems.append(f"The search asks for another {field} than the form; the search's holds.")
    return replace(found, **changes, problems=tuple(problems)), given


def _chips(wanted: Search, given: dict[str, str], text: str, query: QueryDict) -> Iterator[Chip]:
    for field in fields(wanted):
        value = getattr(wanted, field.name)
        if field.name == "problems" or value in _NOTHING:
            continue
        rest = query.copy()
        rest.pop(field.name, None)
        _set(rest, "q", search.without(text, field.name))
        yield Chip(field.name, _in_words(field.name, value), rest.urlencode())


def _set(query: QueryDict, name: str, value: str) -> None:
    query.pop(name, None)
    if value:
        query[name] = value


def _in_words(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if name == "repository" and (start := Search(repository=value).repository_start) is not None:
        return f"{start}…"
    return str(value)


def _choices() -> dict[str, Sequence[str]]:
    installed = installed_subscriptions()
    return {
        "event": sorted(EVENT_NAMES),
        "state": JobState.values,
        "handler": sorted({subscription.name for subscription in installed}),
        "queue": sorted(installed.queues),
    }
