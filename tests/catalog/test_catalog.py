"""The bundled handlers for installations, repositories and hooks: neither the order nor the number of runs matters."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from django.db import connection, models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.catalog_events import NOON, changed, event, handle, installation, listed, repository
from tests.support.services import repeats
from webhooks.github import samples
from webhooks.subscriptions.event import Event
from workers.catalog.latest import BATCH
from workers.catalog.models import Hook, Installation, InstallationRepository, Repository

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

UNNAMED = {"id": 51000123, "account": None, "updated_at": "2026-10-03T00:00:00Z"}
MODELS: list[type[models.Model]] = [InstallationRepository, Repository, Installation, Hook]


def rows() -> dict[str, list[dict[str, Any]]]:
    """Return everything stored, with GitHub's ids for ours."""
    stored = {model.__name__: list(model._default_manager.values()) for model in MODELS}
    for table in stored.values():
        for row in table:
            row.pop("id")
            if "installation_id" in row:
                row["installation_id"] = Installation.objects.get(pk=row["installation_id"]).github_id
                row["repository_id"] = Repository.objects.get(pk=row["repository_id"]).github_id
        table.sort(key=repr)
    return stored


def clear() -> None:
    for model in MODELS:
        model._default_manager.all().delete()


def test_a_new_installation_is_recorded_with_its_repositories() -> None:
    assert handle(event("installation")) == ["created for acme, 2 repositories"]
    stored = Installation.objects.get()
    assert (stored.github_id, stored.account_login, stored.account_type) == (51000123, "acme", "Organization")
    assert (stored.suspended_at, stored.deleted_at) == (None, None)
    assert set(stored.grants.values_list("repository__full_name", "repository__private", "removed_at")) == {
        ("acme/widgets", False, None),
        ("acme/gears", True, None),
    }


def test_an_installation_is_suspended_and_unsuspended() -> None:
    handle(event("installation"), installation("suspend", second=1, suspended_at="2026-10-10T11:59:58Z"))
    assert Installation.objects.get().suspended_at == NOON - timedelta(seconds=2)
    handle(installation("unsuspend", second=2))
    assert Installation.objects.get().suspended_at is None


def test_a_suspension_without_a_moment_counts_from_its_delivery() -> None:
    handle(installation("suspend", second=7))
    assert Installation.objects.get().suspended_at == NOON + timedelta(seconds=7)


def test_a_deleted_installation_is_not_brought_back_by_a_late_event() -> None:
    handle(installation("deleted", second=1), installation("new_permissions_accepted", second=2))
    assert Installation.objects.get().deleted_at == NOON + timedelta(seconds=1)


def test_an_enterprise_that_has_no_login_is_recorded_by_its_slug() -> None:
    handle(installation("created", second=0, account={"id": 1, "slug": "acme-holding"}, target_type="Enterprise"))
    stored = Installation.objects.get()
    assert (stored.account_login, stored.account_type) == ("acme-holding", "Enterprise")


@pytest.mark.parametrize("name", ["installation_target", "organization"])
def test_an_account_that_is_renamed_has_its_new_name_whatever_comes_before_and_after(name: str) -> None:
    story = [event("installation", second=1), event(name, second=2), installation("suspend", second=0)]
    for order in permutations(story):
        clear()
        handle(*order)
        stored = Installation.objects.get()
        assert (stored.account_login, stored.account_type, stored.app_slug) == ("apex", "Organization", "acme-hookline")
    assert handle(event(name, second=2)) == ["installation 51000123 is apex's"]


def test_an_installation_whose_account_is_null_keeps_the_name_that_it_had_and_is_deleted() -> None:
    handle(event("installation", second=1))
    said = handle(
        event("installation", changed("installation", action="deleted") | {"installation": UNNAMED}, second=2)
    )
    assert said == ["deleted for acme, 0 repositories"]
    stored = Installation.objects.get()
    assert (stored.account_login, stored.deleted_at) == ("acme", NOON + timedelta(seconds=2))


def test_repositories_join_and_leave_an_installation() -> None:
    said = handle(listed("added", second=1, widgets=1, gears=2), listed("removed", second=2, gears=2))
    assert said == ["2 added, 0 removed for acme", "0 added, 1 removed for acme"]
    assert dict(InstallationRepository.objects.values_list("repository__full_name", "removed_at")) == {
        "acme/widgets": None,
        "acme/gears": NOON + timedelta(seconds=2),
    }


def test_an_addition_that_comes_after_its_removal_is_not_believed() -> None:
    handle(listed("removed", second=2, gears=2), listed("added", second=1, gears=2))
    assert InstallationRepository.objects.get().removed_at is not None


def test_a_transferred_repository_is_in_its_new_installation_in_either_order() -> None:
    moved = [listed("added", second=1, installation_id=8, gears=2), listed("removed", second=2, gears=2)]
    for order in (moved, moved[::-1]):
        clear()
        handle(*order)
        present = InstallationRepository.objects.filter(removed_at=None)
        assert [grant.installation.github_id for grant in present] == [8]


def test_a_repository_follows_its_latest_event() -> None:
    handle(
        repository("created", second=1, updated="2026-10-07T06:55:01Z"),
        repository("renamed", second=3, updated="2026-10-07T08:00:00Z", full_name="acme/gizmos", archived=True),
        repository("edited", second=4, updated="2026-10-07T07:00:00Z", default_branch="trunk"),
    )
    stored = Repository.objects.get()
    assert (stored.full_name, stored.archived, stored.default_branch) == ("acme/gizmos", True, "main")


def test_a_list_of_names_does_not_undo_what_a_repository_event_said() -> None:
    handle(
        repository("renamed", second=1, updated="2026-10-07T06:55:01Z", id=5, full_name="acme/gizmos"),
        listed("added", second=2, gadgets=5),
    )
    assert Repository.objects.get().full_name == "acme/gizmos"


def test_a_repository_known_only_from_lists_follows_the_later_list() -> None:
    handle(listed("added", second=1, gadgets=5), listed("removed", second=2, gizmos=5))
    assert Repository.objects.get().full_name == "acme/gizmos"


def test_a_deleted_repository_is_not_brought_back_by_a_late_event() -> None:
    handle(
        repository("deleted", second=2, updated="2026-10-07T06:55:01Z"),
        repository("created", second=3, updated="2026-10-07T06:55:01Z"),
        listed("added", second=4, gadgets=700100204),
    )
    assert Repository.objects.get().deleted_at == NOON + timedelta(seconds=2)


def test_two_sources_may_use_the_same_ids() -> None:
    handle(event("installation"), event("installation", source="ghes"))
    assert Installation.objects.count() == 2
    assert Repository.objects.count() == 4
    assert {grant.installation.source == grant.repository.source for grant in InstallationRepository.objects.all()} == {
        True
    }


def test_an_installation_with_more_repositories_than_a_batch_is_recorded_whole() -> None:
    many = {f"part-{number}": number for number in range(1, BATCH + 3)}
    handle(listed("added", second=1, **many), listed("removed", second=2, **many))
    assert Repository.objects.count() == BATCH + 2
    assert InstallationRepository.objects.exclude(removed_at=None).count() == BATCH + 2


STORY = [
    event("installation", second=1),
    installation("suspend", second=2, updated="2026-10-03T00:00:00Z", suspended_at="2026-10-03T00:00:00Z"),
    installation("unsuspend", second=3, updated="2026-10-03T00:00:00Z"),
    installation("new_permissions_accepted", second=4, updated="2026-10-02T00:00:00Z", repository_selection="all"),
    listed("added", second=5, widgets=700100201, gadgets=700100204),
    listed("removed", second=6, widgets=700100201),
    listed("added", second=7, installation_id=8, widgets=700100201),
    repository("created", second=8, updated="2026-10-07T06:55:01Z"),
    repository("renamed", second=9, updated="2026-10-07T06:55:02Z", full_name="acme/gizmos"),
    # Like the one before to the microsecond: neither order is right, but it must be the same each time.
    replace(repository("renamed", second=9, updated="2026-10-07T06:55:02Z", full_name="acme/gears"), delivery="f00"),
    repository("edited", second=10, updated="2026-10-07T06:54:00Z", default_branch="trunk"),
    repository("deleted", second=11, updated="2026-10-07T06:55:01Z"),
    repository("deleted", second=13, updated="2026-10-07T06:55:01Z"),
    installation("deleted", second=12, updated="2026-10-03T00:00:00Z"),
    event("installation_target", second=16),
    event("ping", second=14),
    event("ping", changed("ping", hook={"active": False, "updated_at": "2026-10-02T00:00:00Z"}), second=15),
]


@settings(max_examples=repeats(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(STORY), again=st.lists(st.sampled_from(STORY), max_size=5))
def test_any_order_and_number_of_the_same_events_ends_in_the_same_rows(order: list[Event], again: list[Event]) -> None:
    clear()
    handle(*STORY)
    expected = rows()
    clear()
    handle(*order, *again)
    assert rows() == expected


@pytest.mark.django_db(transaction=True)
def test_events_handled_at_once_end_in_the_same_rows() -> None:
    handle(*STORY)
    expected = rows()
    clear()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(_handle_in_thread, [STORY[start::3] + STORY[::-1] for start in range(4)]))
    assert rows() == expected


def _handle_in_thread(events: Sequence[Event]) -> None:
    try:
        handle(*events)
    finally:
        connection.close()


def test_a_ping_marks_its_hook_as_live() -> None:
    assert handle(event("ping", second=3)) == ["App hook 512340001 is live"]
    hook = Hook.objects.get()
    assert (hook.target_type, hook.target, hook.active) == ("App", "340077", True)
    assert "push" in hook.events
    assert hook.heard_at == NOON + timedelta(seconds=3)


@pytest.mark.parametrize(
    ("key", "value", "target"),
    [
        ("repository", {"full_name": "acme/widgets"}, "acme/widgets"),
        ("organization", {"login": "acme"}, "acme"),
    ],
)
def test_a_hook_names_what_it_belongs_to(key: str, value: dict[str, str], target: str) -> None:
    handle(event("ping", {**samples.load("ping"), key: value}))
    assert Hook.objects.get().target == target
