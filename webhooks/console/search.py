"""What an operator types into the search box of a list, such as `repo:acme/widgets state:dead`, as a value. No I/O."""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from webhooks.github.event_names import EVENT_NAME, EVENT_NAMES
from webhooks.states import JobState

LONGEST = 500
"""How many characters of a search are read."""

RECOVERED = "recovered"
_TOKEN = re.compile(r'(?:([A-Za-z_]+):)?("[^"]*"|\S+)')
_NUMBER = re.compile(r"#?([0-9]{1,18})")
_AGO = re.compile(r"([0-9]{1,4})(min|m|h|d)")
_UNITS = {"min": "minutes", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is wanted: every value that is set must fit. `problems` says what was not understood, and so left out."""

    guid: uuid.UUID | None = None
    number: int | None = None
    """The row's own number: of the delivery in the list of deliveries, of the job in the list of jobs."""
    repository: str = ""
    """A full name; the start of one if it ends in `/` or `*`, or has no `/`. See `repository_start`."""
    event: str = ""
    action: str = ""
    installation: int | None = None
    sender: str = ""
    handler: str = ""
    queue: str = ""
    error: str = ""
    """A part of the error, in any case."""
    fingerprint: str = ""
    """What groups failures: the same handler, error class and place in the code."""
    state: str = ""
    mark: str = ""
    """`recovered`: the delivery did not come by itself but was taken from GitHub's log."""
    since: datetime | None = None
    until: datetime | None = None
    """The moment before which it came."""
    problems: tuple[str, ...] = ()

    @property
    def repository_start(self) -> str | None:
        """Return what the repository's full name begins with; None if the whole name is given, or none."""
        if not self.repository or (_is_whole_name(self.repository)):
            return None
        return self.repository.removesuffix("*")

    @property
    def is_empty(self) -> bool:
        """Tell whether every row fits."""
        return replace(self, problems=()) == Search()


class Qualifier(NamedTuple):
    """A name before a colon, the field of `Search` that it sets, and how its value is read."""

    name: str
    field: str
    read: Callable[[str, datetime], Any]
    """Takes the text and the moment of now. Raises ValueError with a sentence on what it must be."""


def parse(text: str, *, now: datetime | None = None) -> Search:
    """Return the search that a text asks for. What it does not understand is a problem, and changes nothing else."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, word in _tokens(text):
        try:
            field, value = _read(name, word, now=now or datetime.now(UTC))
        except ValueError as error:
            problems.append(str(error))
            continue
        if field in values:
            problems.append(f"“{_shown(name, word)}” comes after another {field}; the first one holds.")
        values.setdefault(field, value)
    return Search(**values, problems=tuple(problems))


def field_of(name: str, text: str, *, now: datetime) -> Any:
    """Return the value of one qualifier. Raises ValueError with a sentence for the operator."""
    return _BY_NAME[name].read(cleaned(text).strip(), now)


def without(text: str, field: str) -> str:
    """Return a search's text without the words that set a field."""
    return " ".join(_shown(name, word) for name, word in _tokens(text) if _field(name, word) != field)


def cleaned(text: str) -> str:
    """Return a text that any database and any page takes: no NUL, no half characters, not too long."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")[:LONGEST]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield each word with the name before its colon, which is empty if there is none. Quotes keep blanks together."""
    for match in _TOKEN.finditer(cleaned(text)):
        name, word = match[1] or "", match[2]
        yield name.lower(), word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word


def _shown(name: str, word: str) -> str:
    quoted = f'"{word}"' if not word or re.search(r"\s", word) else word
    return f"{name}:{quoted}" if name else quoted


def _read(name: str, word: str, *, now: datetime) -> tuple[str, Any]:
    if not name:
        return _bare(word)
    if name not in _BY_NAME:
        raise ValueError(f"“{name}:” is unknown here. There are: {NAMES}")
    if not word.strip():
        raise ValueError(f"“{name}:” needs a value right after its colon.")
    return _BY_NAME[name].field, _BY_NAME[name].read(word.strip(), now)


def _field(name: str, word: str) -> str:
    try:
        return _read(name, word, now=datetime.now(UTC))[0]
    except ValueError:
        return ""


def _bare(word: str) -> tuple[str, Any]:
    """Return what a word without a name stands for: a GUID, a row's number, a repository or an event."""
    if (number := _NUMBER.fullmatch(word)) is not None:
        return "number", int(number[1])
    if (guid := _guid_or_none(word)) is not None:
        return "guid", guid
    if word.endswith(":") and word[:-1].lower() in _BY_NAME:
        raise ValueError(f"“{word}” needs a value right after its colon.")
    if "/" in word:
        return "repository", word
    if word in EVENT_NAMES:
        return "event", word
    raise ValueError(f"“{word}” is no GUID, number, owner/repository or event. To search by more: {NAMES}")


def _guid_or_none(word: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(word)
    except ValueError:
        return None


def _guid(word: str, _now: datetime) -> uuid.UUID:
    if (guid := _guid_or_none(word)) is None:
        raise ValueError(f"“{word}” is no whole GUID, such as 72d3162e-cc78-11e3-81ab-4c9367dc0958.")
    return guid


def _number(word: str, _now: datetime) -> int:
    if (number := _NUMBER.fullmatch(word)) is None:
        raise ValueError(f"“{word}” is no number.")
    return int(number[1])


def _event(word: str, _now: datetime) -> str:
    if EVENT_NAME.fullmatch(word) is None:
        raise ValueError(f"“{word}” is no event's name, such as pull_request.")
    return word


def _state(word: str, _now: datetime) -> str:
    if word.lower() not in JobState.values:
        raise ValueError(f"“{word}” is no state. There are: {', '.join(JobState.values)}.")
    return word.lower()


def _mark(word: str, _now: datetime) -> str:
    if word.lower() != RECOVERED:
        raise ValueError(f"“{word}” is no mark. There is: {RECOVERED}.")
    return word.lower()


def _moment(word: str, now: datetime) -> datetime:
    """Return a moment, given in ISO 8601 (in UTC if it names no zone) or as a time before now, such as 2h."""
    if (ago := _AGO.fullmatch(word)) is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(word)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"“{word}” is no time, such as 2026-05-04T14:30 (UTC), 30min, 2h or 7d (ago).") from None


def _text(word: str, _now: datetime) -> str:
    return word


def _is_whole_name(repository: str) -> bool:
    owner, slash, name = repository.partition("/")
    return bool(owner and slash and name) and not repository.endswith("*")


QUALIFIERS = (
    Qualifier("guid", "guid", _guid),
    Qualifier("repo", "repository", _text),
    Qualifier("event", "event", _event),
    Qualifier("action", "action", _text),
    Qualifier("installation", "installation", _number),
    Qualifier("sender", "sender", _text),
    Qualifier("handler", "handler", _text),
    Qualifier("queue", "queue", _text),
    Qualifier("error", "error", _text),
    Qualifier("fingerprint", "fingerprint", _text),
    Qualifier("state", "state", _state),
    Qualifier("is", "mark", _mark),
    Qualifier("since", "since", _moment),
    Qualifier("until", "until", _moment),
)
NAMES = " ".join(f"{each.name}:" for each in QUALIFIERS)
_BY_NAME: Mapping[str, Qualifier] = {
    **{each.field: each for each in QUALIFIERS},
    **{each.name: each for each in QUALIFIERS},
}
