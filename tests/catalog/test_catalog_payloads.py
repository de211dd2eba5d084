"""How the bundled handlers read payloads, and what they give up."""

import contextlib
from datetime import datetime
from random import Random
from typing import Any

import pytest
from django.db import DataError, transaction

from tests.fuzz.bodies import odd_members
from tests.support.catalog_events import HANDLERS, NOON, event, handle, payload_of
from webhooks.github import json_text
from webhooks.subscriptions.event import GiveUp
from workers.catalog.reading import moment

NULLABLE = {
    "ping": "hook hook.id hook.type hook.events hook.active hook.updated_at hook.app_id organization repository",
    "installation": "action installation installation.id installation.account installation.account.login "
    "installation.account.type installation.target_type installation.app_slug installation.repository_selection "
    "installation.suspended_at installation.updated_at repositories repositories.id repositories.full_name "
    "repositories.private",
    "installation_repositories": "action installation installation.id installation.account installation.account.login "
    "installation.updated_at installation.suspended_at repositories_added repositories_added.id "
    "repositories_added.full_name repositories_added.private repositories_removed",
    "installation_target": "account account.login account.slug account.type target_type changes installation "
    "installation.id organization",
    "organization": "organization organization.login changes installation installation.id",
    "repository": "repository repository.id repository.full_name repository.private repository.archived "
    "repository.default_branch repository.updated_at organization",
    "push": "repository repository.id repository.full_name ref after head_commit head_commit.id head_commit.added "
    "head_commit.modified head_commit.removed commits commits.added commits.modified commits.removed",
}
"""What each handler reads, and what else beside it. By GitHub's schemas most of these may be null or absent; the others
were seen so, or may come to be."""
ABSENT = object()


def strike(value: Any, path: list[str], put: Any) -> None:
    """Put null, or nothing, where the path leads; in a list in each element."""
    if isinstance(value, list):
        for one in value:
            strike(one, path, put)
    elif len(path) > 1:
        strike(value.get(path[0], {}), path[1:], put)
    elif put is ABSENT:
        value.pop(path[0], None)
    else:
        value[path[0]] = put


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.parametrize("put", [None, ABSENT], ids=["null", "absent"])
@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in NULLABLE.items() for path in paths.split()])
def test_what_github_may_leave_out_is_no_failure(name: str, path: str, put: Any) -> None:
    given = event(name, payload_of(name))
    strike(given.payload, path.split("."), put)
    (said,) = handle(given)
    if name != "push":  # A push without a manifest has nothing to say.
        assert said


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("ping", "hook", "nothing to record: the payload's hook is missing"),
        ("installation", "installation", "nothing to record: the payload's installation is missing"),
        (
            "installation",
            "installation.account",
            "created for installation 51000123, whose account is not named, 2 repositories",
        ),
        ("installation", "repositories", "created for acme, 0 repositories"),
        (
            "installation",
            "repositories.id",
            "created for acme, 0 repositories; 2 without an id, a name or a visibility",
        ),
        ("installation_repositories", "installation.id", "nothing to record: the payload's installation.id is missing"),
        ("installation_target", "account.login", "nothing to record: the payload's account has no name"),
        ("repository", "repository.id", "nothing to record: the payload's repository.id is missing"),
        ("push", "after", "nothing to record: the payload's after is missing"),
    ],
)
def test_a_success_that_recorded_less_says_what_is_missing(name: str, path: str, said: str) -> None:
    given = event(name, payload_of(name))
    strike(given.payload, path.split("."), None)
    assert handle(given) == [said]


@pytest.mark.parametrize(
    ("name", "path"),
    [("ping", "hook"), ("installation", "installation.id"), ("repository", "repository.full_name"), ("push", "ref")],
)
@pytest.mark.parametrize("value", [True, "a\0b", 2**63, 2.0**70, [[]]])
@pytest.mark.django_db
def test_a_value_of_another_type_or_size_than_githubs_is_given_up(name: str, path: str, value: Any) -> None:
    given = event(name, payload_of(name))
    strike(given.payload, path.split("."), value)
    with pytest.raises(GiveUp, match=f"payload's {path} is not what GitHub sends"):
        handle(given)


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.parametrize("name", HANDLERS)
def test_whatever_stands_where_a_handler_looks_it_succeeds_or_gives_up(name: str) -> None:
    for number in range(40):
        try:
            odd = json_text.loads(odd_members(Random(f"{name}/{number}")))
        except ValueError:
            continue  # So the receiver refuses it.
        with contextlib.suppress(GiveUp, DataError), transaction.atomic():  # PostgreSQL bounds the length of names.
            handle(event(name, payload_of(name) | odd))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-10-10T12:00:00Z", NOON),
        ("2026-10-10T14:00:00.000+02:00", NOON),
        ("2026-10-10T12:00:00", NOON),
        (int(NOON.timestamp()), NOON),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("2026-13-45T00:00:00Z", None),
        (10**30, None),
        ([], None),
    ],
)
def test_a_moment_is_read_in_each_form_that_github_uses(value: Any, expected: datetime | None) -> None:
    assert moment(value) == expected
