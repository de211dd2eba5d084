"""The audit log: every change by a person, with who, when, what and why."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from webhooks.admin import show
from webhooks.admin.filters import FirstRowsColumnFilter
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.models import Change, Job

NEWEST = 1_000
"""How many of the newest changes tell which names the filters offer."""
JOBS_SHOWN = 100


class _NamesFilter(FirstRowsColumnFilter):
    """Offers the names that the newest changes have; another one works too."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = Change.objects.order_by("-at", "-id").values_list(str(self.parameter_name), flat=True)[:NEWEST]
        return [(name, name) for name in sorted(set(newest))]


class WhoFilter(_NamesFilter):
    title = "who"
    parameter_name = "who"


class ActionFilter(_NamesFilter):
    title = "action"
    parameter_name = "action"


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    list_display = ["action", "who", "when", "reason", "short_scope", "count"]
    list_filter = [WhoFilter, ActionFilter]
    shows_of = {"of_jobs": Job}
    ordering = ["-at", "-id"]
    fields = ["action", "who", "when", "reason", "scope", "count", "of_jobs"]

    @admin.display(description="at")
    def when(self, change: Change) -> str:
        return show.moment(change.at)

    @admin.display(description="scope")
    def short_scope(self, change: Change) -> str:
        return show.shortened(change.scope)

    @admin.display(description="jobs")
    def of_jobs(self, change: Change) -> str:
        changed = Job.objects.filter(changes__change=change).order_by("pk")[:JOBS_SHOWN]
        links = format_html_join(", ", "{}", ((show.link(job, str(job)),) for job in changed))
        if change.count > JOBS_SHOWN:
            return format_html("{}, and {} more", links, f"{change.count - JOBS_SHOWN:,}")
        return links or "none"
