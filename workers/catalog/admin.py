"""The catalog's pages in the admin. They are read-only, since only events change these rows.

With millions of rows a search needs an index: by a GitHub id, or by the start of a name. A filter without an index, by
a moment or by yes and no, looks only at the newest rows, and says so.
"""

from typing import Any

from django.contrib import admin

from webhooks.admin.lists import FirstRowsBooleanFilter, FirstRowsEmptyFilter, ReadOnlyAdmin
from workers.catalog.latest import LatestRow
from workers.catalog.models import Hook, Installation, InstallationRepository, Repository, ScanRequest


@admin.register(Installation)
class InstallationAdmin(ReadOnlyAdmin):
    number_field = "github_id"
    list_display = [
        "account_login", "account_type", "source", "github_id", "repository_selection", "suspended_at", "deleted_at",
    ]  # fmt: skip
    list_filter = [("suspended_at", FirstRowsEmptyFilter), ("deleted_at", FirstRowsEmptyFilter)]
    search_fields = ["account_login__startswith"]
    search_help_text = "The start of a login, or an installation's id."


@admin.register(Repository)
class RepositoryAdmin(ReadOnlyAdmin):
    number_field = "github_id"
    list_display = ["full_name", "source", "github_id", "private", "archived", "default_branch", "deleted_at"]
    list_filter = [
        ("private", FirstRowsBooleanFilter),
        ("archived", FirstRowsBooleanFilter),
        ("deleted_at", FirstRowsEmptyFilter),
    ]
    search_fields = ["full_name__startswith"]
    search_help_text = "The start of a full name, such as acme/, or a repository's id."


@admin.register(InstallationRepository)
class InstallationRepositoryAdmin(ReadOnlyAdmin):
    list_display = ["row", "repository", "installation", "removed_at", "heard_at"]
    list_display_links = ["row"]
    list_filter = [("removed_at", FirstRowsEmptyFilter)]
    fields = ["repository_shown", "installation_shown", "removed_at", "changed_at", "heard_at", "changed_by"]
    shows_of = {
        "repository": Repository,
        "repository_shown": Repository,
        "installation": Installation,
        "installation_shown": Installation,
    }
    list_select_related = ["installation", "repository"]
    number_field = "installation__github_id"
    search_fields = ["repository__full_name__startswith"]
    search_help_text = "The start of a repository's full name, or an installation's id."

    @admin.display(description="grant")
    def row(self, grant: InstallationRepository) -> str:
        return f"#{grant.pk}"

    @admin.display(description="repository")
    def repository_shown(self, grant: InstallationRepository) -> str:
        return str(grant.repository)

    @admin.display(description="installation")
    def installation_shown(self, grant: InstallationRepository) -> str:
        return str(grant.installation)


@admin.register(Hook)
class HookAdmin(ReadOnlyAdmin):
    number_field = "github_id"
    list_display = ["github_id", "source", "target_type", "target", "subscribes_to", "active", "last_ping_at"]
    list_filter = [("active", FirstRowsBooleanFilter)]
    search_fields = ["target__startswith"]
    search_help_text = "The start of a repository's or organisation's name, or a hook's id."

    @admin.display(description="events")
    def subscribes_to(self, hook: Hook) -> str:
        return ", ".join(map(str, hook.events))

    @admin.display(description="last ping at")
    def last_ping_at(self, hook: LatestRow) -> Any:
        return hook.heard_at


@admin.register(ScanRequest)
class ScanRequestAdmin(ReadOnlyAdmin):
    list_display = ["path", "ecosystem", "repository", "ref", "commit_sha", "requested_at"]
    list_filter = ["ecosystem"]
    number_field = "repository_github_id"
    search_fields = ["repository__startswith"]
    search_help_text = "The start of a repository's full name, or a repository's id."
