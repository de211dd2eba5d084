"""Attempts: the runs of all jobs that have ended, the newest first. A job's own are on its page."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from webhooks.admin import show
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.admin.searching import number_of
from webhooks.models import Attempt, Job


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = ["outcome_shown", "run", "short_message", "of_job", "started", "took", "worker", "pid"]
    list_display_links = ["run"]
    list_select_related = ["job"]
    list_defer = ("traceback",)
    shows_of = {"of_job": Job}
    search_fields = ["job_id"]
    search_help_text = "A job's number. To find what failed, filter the jobs by state."
    ordering = ["-id"]
    fieldsets = [
        (None, {"fields": ["of_job", "number", "outcome_shown", "message", "started", "took", "worker", "pid"]}),
        ("Traceback", {"fields": ["traceback_shown"]}),
    ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        number = number_of(search_term)
        if number is None:
            messages.warning(request, "Attempts are found by the number of their job.")
            return queryset.none(), False
        return queryset.filter(job_id=number), False

    @admin.display(description="attempt")
    def run(self, attempt: Attempt) -> str:
        return f"run {attempt.number}"

    @admin.display(description="outcome")
    def outcome_shown(self, attempt: Attempt) -> str:
        return show.outcome(attempt)

    @admin.display(description="message")
    def short_message(self, attempt: Attempt) -> str:
        return show.shortened(attempt.message)

    @admin.display(description="job")
    def of_job(self, attempt: Attempt) -> str:
        return show.link(attempt.job, str(attempt.job))

    @admin.display(description="started")
    def started(self, attempt: Attempt) -> str:
        return show.moment(attempt.started_at)

    @admin.display(description="took")
    def took(self, attempt: Attempt) -> str:
        return show.duration(attempt)

    @admin.display(description="traceback")
    def traceback_shown(self, attempt: Attempt) -> str:
        return format_html('<pre class="long">{}</pre>', attempt.traceback) if attempt.traceback else "none"
