"""The search of the lists: what an operator types is read into a value, or said to be unknown; never an error."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.http import QueryDict
from django.test import RequestFactory
from hypothesis import example, given
from hypothesis import strategies as st

from webhooks.console import filters
from webhooks.console.search import LONGEST, QUALIFIERS, Search, parse, without
from webhooks.states import JobState

NOW = datetime(2026, 5, 4, 14, 30, tzinfo=UTC)
GUID = UUID("72d3162e-cc78-11e3-81ab-4c9367dc0958")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Search()),
        (str(GUID), Search(guid=GUID)),
        (f"  {str(GUID).upper()} ", Search(guid=GUID)),
        (f"guid:{GUID}", Search(guid=GUID)),
        ("4310", Search(number=4310)),
        ("#4310", Search(number=4310)),
        ("acme/widgets", Search(repository="acme/widgets")),
        ("repo:acme", Search(repository="acme")),
        ("repository:acme/", Search(repository="acme/")),
        ("push", Search(event="push")),
        ("event:its_own_event", Search(event="its_own_event")),
        ("action:opened sender:ana", Search(action="opened", sender="ana")),
        ("installation:0", Search(installation=0)),
        ("handler:acme.greet queue:slow", Search(handler="acme.greet", queue="slow")),
        ("is:Recovered", Search(mark="recovered")),
        ("STATE:Dead", Search(state=JobState.DEAD)),
        ('error:"connection refused" state:dead', Search(error="connection refused", state=JobState.DEAD)),
        ("error:http://x:80", Search(error="http://x:80")),
        ("since:2h until:2026-05-04T14:30", Search(since=NOW - timedelta(hours=2), until=NOW)),
        ("since:2026-05-04T16:30+02:00", Search(since=NOW)),
        ("since:2026-05-04", Search(since=datetime(2026, 5, 4, tzinfo=UTC))),
    ],
)
def test_a_search_is_read(text: str, wanted: Search) -> None:
    assert parse(text, now=NOW) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("widgets", "no GUID, number, owner/repository or event"),
        ("colour:red", "“colour:” is unknown here. There are: guid: repo: event:"),
        ("https://example.org", "“https:” is unknown here"),
        ("guid:72d3", "no whole GUID"),
        ("state:broken", "There are: queued, running, retrying, succeeded, dead, skipped."),
        ("is:red", "There is: recovered."),
        ("installation:many", "no number"),
        ("event:Push!", "no event's name"),
        ("since:yesterday", "2026-05-04T14:30 (UTC), 30min, 2h or 7d (ago)"),
        ("since:0001-01-01T00:00+14:00", "no time"),
        ("repo: acme/widgets", "needs a value right after its colon"),
        ('error:""', "needs a value right after its colon"),
    ],
)
def test_a_qualifier_that_is_not_understood_is_said_and_leaves_the_others_as_they_are(text: str, said: str) -> None:
    found = parse(f"sender:ana {text} action:opened", now=NOW)
    assert (found.sender, found.action) == ("ana", "opened")
    [problem] = found.problems
    assert said in problem


def test_of_two_qualifiers_of_one_name_the_first_holds_and_the_second_is_said() -> None:
    found = parse("event:push release")
    assert found == Search(event="push", problems=("“release” comes after another event; the first one holds.",))


@pytest.mark.parametrize(
    ("repository", "start"),
    [("acme/widgets", None), ("acme/wid*", "acme/wid"), ("acme/", "acme/"), ("acme", "acme"), ("", None), ("*", "")],
)
def test_a_whole_repository_is_told_from_the_start_of_one(repository: str, start: str | None) -> None:
    assert Search(repository=repository).repository_start == start


@given(st.text(max_size=200))
@example('":')
@example("\ud83d:\0")
@example("event:" + "a" * 2 * LONGEST)
def test_any_text_is_read_and_what_is_shown_of_it_can_be_stored_and_sent(text: str) -> None:
    found = parse(text, now=NOW)
    for shown in (*found.problems, found.repository, found.sender, found.handler, found.error):
        assert "\0" not in shown
        shown.encode()
    for qualifier in QUALIFIERS:
        rest = parse(without(text, qualifier.field), now=NOW)
        assert getattr(rest, qualifier.field) == getattr(Search(), qualifier.field)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters='"\0', exclude_categories=["Z", "C"]), min_size=1)
VALUES = {
    "guid": st.uuids(),
    "repository": WORDS,
    "event": st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    "action": WORDS,
    "installation": st.integers(0, 10**18 - 1),
    "sender": WORDS,
    "handler": WORDS,
    "queue": WORDS,
    "error": st.lists(WORDS, min_size=1, max_size=3).map(" ".join),
    "state": st.sampled_from(JobState.values),
    "since": st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  Its zone is given.
    "until": st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  Its zone is given.
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_the_same_filters_in_the_box_and_in_the_form_are_one_search(values: dict[str, Any]) -> None:
    written = {name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in values.items()}
    text = " ".join(f'{name}:"{value}"' for name, value in written.items())
    if len(text) > LONGEST:
        return
    assert parse(text, now=NOW) == Search(**values)
    assert filters.from_parameters(written, now=NOW) == (Search(**values), written)


def read(query: str) -> filters.Filters:
    return filters.read(RequestFactory().get(f"/deliveries/?{query}"))


def test_each_chip_leads_to_the_same_list_without_its_filter() -> None:
    found = read("q=event%3Apush+repo%3Aacme%2F&sender=ana&installation=0&after=7.7")
    assert [(chip.name, chip.value) for chip in found.chips] == [
        ("repository", "acme/…"), ("event", "push"), ("installation", "0"), ("sender", "ana"),
    ]  # fmt: skip
    for chip in found.chips:
        rest = QueryDict(chip.without)
        assert "after" not in rest
        left = filters.from_parameters(rest, now=NOW)[0]
        assert {chip.name for chip in found.chips} - {
            name for name in ("repository", "event", "sender", "installation") if getattr(left, name) not in (None, "")
        } == {chip.name}


def test_a_filter_of_the_form_yields_to_the_search_and_the_page_says_so() -> None:
    found = read("q=event%3Apush&event=release&state=broken&sender=ana")
    assert (found.search.event, found.search.sender, found.search.state) == ("push", "ana", "")
    assert [problem.partition(";")[0] for problem in found.search.problems] == [
        "“broken” is no state. There are: queued, running, retrying, succeeded, dead, skipped.",
        "The search asks for another event than the form",
    ]
