"""The catalog's pages in the admin: for looking only, since events alone change these rows.

At millions of rows a search must be answered by an index: a GitHub id, or the start of a name.
"""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from webhooks.admin.lists import CappedPaginator
from workers.catalog.latest import LatestRow
from workers.catalog.models import Hook, Installation, InstallationRepository, Repository, ScanRequest


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django's own takes no parameter when it runs.
    paginator = CappedPaginator
    ordering = ["-id"]
    show_full_result_count = False
    list_per_page = 50
    number_field = "github_id"
    """What a search for digits alone looks for. Django's own search would cast the column to text, past its index."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if term.isdecimal() and len(term) < 19:
            return queryset.filter(**{self.number_field: int(term)}), False
        return super().get_search_results(request, queryset, search_term)


@admin.register(Installation)
class InstallationAdmin(ReadOnlyAdmin):
    list_display = [
        "account_login", "account_type", "source", "github_id", "repository_selection", "suspended_at", "deleted_at",
    ]  # fmt: skip
    list_filter = [("suspended_at", admin.EmptyFieldListFilter), ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["account_login__startswith"]
    search_help_text = "The start of a login, or an installation's id."


@admin.register(Repository)
class RepositoryAdmin(ReadOnlyAdmin):
    list_display = ["full_name", "source", "github_id", "private", "archived", "default_branch", "deleted_at"]
    list_filter = ["private", "archived", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["full_name__startswith"]
    search_help_text = "The start of a full name, such as acme/, or a repository's id."


@admin.register(InstallationRepository)
class InstallationRepositoryAdmin(ReadOnlyAdmin):
    list_display = ["repository", "installation", "removed_at", "heard_at"]
    list_filter = [("removed_at", admin.EmptyFieldListFilter)]
    list_select_related = ["installation", "repository"]
    number_field = "installation__github_id"
    search_fields = ["repository__full_name__startswith"]
    search_help_text = "The start of a repository's full name, or an installation's id."


@admin.register(Hook)
class HookAdmin(ReadOnlyAdmin):
    list_display = ["github_id", "source", "target_type", "target", "subscribes_to", "active", "last_ping_at"]
    list_filter = ["active"]
    search_fields = ["target__startswith"]
    search_help_text = "The start of a repository's or organisation's name, or a hook's id."

    @admin.display(description="events")
    def subscribes_to(self, hook: Hook) -> str:
        return ", ".join(map(str, hook.events))

    @admin.display(description="last ping at", ordering="heard_at")
    def last_ping_at(self, hook: LatestRow) -> Any:
        return hook.heard_at


@admin.register(ScanRequest)
class ScanRequestAdmin(ReadOnlyAdmin):
    list_display = ["path", "ecosystem", "repository", "ref", "commit_sha", "requested_at"]
    list_filter = ["ecosystem"]
    number_field = "repository_github_id"
    search_fields = ["repository__startswith"]
    search_help_text = "The start of a repository's full name, or a repository's id."
