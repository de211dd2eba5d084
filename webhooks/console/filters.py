"""The filters of a list: its search box and its form, both in the URL, read into one `Search`; and their chips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseRedirect, QueryDict
from django.utils import timezone

from webhooks.console import search
from webhooks.console.search import NAMES, QUALIFIERS, Search
from webhooks.github.event_names import EVENT_NAMES
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

PLACES = ("after", "before")
"""The parameters that name a page of the list. A changed filter begins at the first page."""
_NOTHING = (None, "")
OF_DELIVERIES = (
    ("event", "Event", "pull_request"),
    ("action", "Action", "opened"),
    ("repository", "Repository", "acme/ or acme/widgets"),
    ("sender", "Sender", "octocat"),
    ("installation", "Installation", "51000123"),
    ("state", "State of a job", "dead"),
    ("handler", "Handler", "acme.greet"),
    ("queue", "Queue", "default"),
    ("error", "Error contains", "timed out"),
    ("mark", "Came as", "recovered"),
    ("since", "Received since", "2h or 2026-05-04T14:30"),
    ("until", "Received before", "30min"),
)
"""Each field of the form: its parameter, its label and an example."""
OF_JOBS = (
    ("state", "State", "dead"),
    ("handler", "Handler", "acme.greet"),
    ("queue", "Queue", "default"),
    ("error", "Error contains", "timed out"),
    ("fingerprint", "Fingerprint", "0123456789abcdef"),
    ("repository", "Repository", "acme/ or acme/widgets"),
    ("event", "Event", "pull_request"),
    ("since", "Created or ended since", "2h or 2026-05-04T14:30"),
    ("until", "Created or ended before", "30min"),
)


@dataclass(frozen=True, slots=True)
class Chip:
    """One filter that holds, and the query of the same list without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the form, with what stands in it and the names that it offers; others work too."""

    name: str
    label: str
    value: str
    choices: Sequence[str]
    example: str


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
    wider: str
    """The query with the start of a repository's name in place of the whole one; empty without a whole one."""
    names: str = NAMES
    form: Sequence[tuple[str, str, str]] = OF_DELIVERIES

    @property
    def fields(self) -> Sequence[Field]:
        choices = _choices()
        return [
            Field(name, label, self.given.get(name, ""), choices.get(name, ()), example)
            for name, label, example in self.form
        ]


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
        wider=_wider(wanted, text, query),
    )


def tidied(request: HttpRequest) -> HttpResponseRedirect | None:
    """Return where the same list stands under a shorter address: a form sends its empty fields too. None if here."""
    kept = [(name, value) for name, values in request.GET.lists() for value in values if value.strip()]
    if len(kept) == sum(len(values) for _, values in request.GET.lists()):
        return None
    return HttpResponseRedirect(f"{request.path}?{urlencode(kept)}" if kept else request.path)


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


def _wider(wanted: Search, text: str, query: QueryDict) -> str:
    if not wanted.repository or wanted.repository_start is not None:
        return ""
    rest = query.copy()
    _set(rest, "q", search.without(text, "repository"))
    _set(rest, "repository", f"{wanted.repository}*")
    return rest.urlencode()


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
        "mark": [search.RECOVERED],
        "handler": sorted({subscription.name for subscription in installed}),
        "queue": sorted(installed.queues),
    }
