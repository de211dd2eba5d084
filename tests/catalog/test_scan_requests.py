"""The bundled handler for pushes: which manifests it asks to scan."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.support.catalog_events import event, handle
from tests.support.inbox_rows import make_delivery
from webhooks.github import samples
from webhooks.inbox.retention import Pruned, current_limits, prune
from webhooks.subscriptions.event import Event
from webhooks.subscriptions.installed import installed_subscriptions
from workers.catalog.models import ScanRequest

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def push(**values: Any) -> Event:
    return event("push", {**samples.load("push"), **values})


def test_a_push_asks_for_a_scan_of_each_manifest_it_touches() -> None:
    assert handle(event("push")) == ["3 manifests in acme/widgets"]
    assert dict(ScanRequest.objects.values_list("path", "ecosystem")) == {
        "requirements.txt": "pip",
        "web/package.json": "npm",
        "web/package-lock.json": "npm",
    }
    payload = samples.load("push")
    assert set(ScanRequest.objects.values_list("ref", "commit_sha")) == {("refs/heads/main", payload["after"])}
    assert all(scan.requested_at for scan in ScanRequest.objects.all())


def test_the_same_commit_is_scanned_once_whoever_pushes_it_again() -> None:
    handle(event("push"), event("push", second=9), push(ref="refs/heads/release"))
    assert ScanRequest.objects.count() == 3
    assert {scan.content_key() == scan.key for scan in ScanRequest.objects.all()} == {True}


def test_a_manifest_that_the_push_removes_again_is_not_scanned() -> None:
    commits = [
        {"added": ["go.mod", "Gemfile"], "modified": [], "removed": []},
        {"added": [], "modified": [], "removed": ["go.mod"]},
    ]
    assert handle(push(commits=commits, head_commit=None)) == ["1 manifest in acme/widgets"]


def test_a_push_without_commits_is_judged_by_its_head_commit() -> None:
    head = {**samples.load("push")["head_commit"], "modified": ["pom.xml"]}
    assert handle(push(commits=[], head_commit=head)) == ["1 manifest in acme/widgets"]


def test_a_push_that_touches_no_manifest_asks_for_nothing() -> None:
    assert handle(push(commits=[], head_commit=None)) == [None]
    assert not ScanRequest.objects.exists()


def test_an_annotated_tag_is_scanned_at_the_commit_it_points_to() -> None:
    head = {**samples.load("push")["head_commit"], "modified": ["pom.xml"]}
    handle(push(ref="refs/tags/v1", after="f" * 40, commits=[], head_commit=head))
    assert ScanRequest.objects.get().commit_sha == head["id"]


def test_a_path_longer_than_an_index_entry_is_recorded() -> None:
    path = "/".join(str(number) * 9 for number in range(1000, 1090)) + "/go.mod"
    handle(push(commits=[{"added": [path]}], head_commit=None))
    assert ScanRequest.objects.get().path == path


def test_the_deletion_of_a_branch_makes_no_job() -> None:
    payload = push(deleted=True, after="0" * 40, commits=[], head_commit=None).payload
    names = {subscription.name for subscription in installed_subscriptions().matching("push", "", payload)}
    assert "catalog.request_scans" not in names


@pytest.mark.parametrize("batch", [1, 2, 200])
def test_old_scan_requests_go_with_the_deliveries_and_recent_ones_stay(batch: int) -> None:
    make_delivery()
    handle(event("push"))
    old = list(ScanRequest.objects.order_by("pk").values_list("pk", flat=True))[:2]
    ScanRequest.objects.filter(pk__in=old).update(requested_at=Now() - timedelta(days=31))
    limits = current_limits()
    assert limits is not None

    def removed(**options: bool) -> Pruned:
        return sum((one.pruned for one in prune(limits, batch=batch, **options)), Pruned())

    assert removed(is_dry_run=True) == Pruned(app_rows=2)
    assert ScanRequest.objects.count() == 3
    assert removed() == Pruned(app_rows=2)
    assert not ScanRequest.objects.filter(pk__in=old).exists()
    assert removed() == Pruned()
    assert ScanRequest.objects.count() == 1
