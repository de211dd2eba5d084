"""Jobs as rows: which ran, which did not and why. What may be done to them is on the console's pages."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from webhooks.admin import show
from webhooks.admin.filters import HandlerFilter, QueueFilter, StateFilter
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.admin.searching import guid_of, number_of
from webhooks.models import Attempt, Delivery, Job
from webhooks.states import JobState

NEWEST: list[str | Combinable] = ["-created_at", "-id"]
ORDERS: dict[str | None, list[str | Combinable]] = {
    JobState.QUEUED: ["created_at", "id"],
    JobState.RUNNING: ["lease_until", "id"],
    JobState.RETRYING: ["due_at", "id"],
    JobState.DEAD: ["-finished_at", "-id"],
    JobState.SKIPPED: ["-finished_at", "-id"],
}
"""Each state's order, which is that of its partial index: the longest waiting first, or the last ended first."""
ATTEMPTS_SHOWN = 50
DETAILS = ["handler", "queue", "created", "budget_from", "forgiven", "lost", "fingerprint"]


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = [
        "state_shown",
        "job",
        "last_error",
        "of_delivery",
        "attempts_spent",
        "next_or_end",
        "created",
    ]
    list_display_links = ["job"]
    list_filter = [StateFilter, QueueFilter, HandlerFilter]
    list_select_related = ["delivery"]
    list_defer = ("delivery__headers",)
    shows_of = {"of_delivery": Delivery}
    search_fields = ["pk"]
    search_help_text = "A job's number, or the GUID of its delivery."
    change_form_template = "admin/webhooks/job/change_form.html"

    def get_fieldsets(self, request: HttpRequest, obj: Job | None = None) -> list[Any]:
        filled = [name for name in ("error", "result") if getattr(obj, name)]
        held = ["claimed"] if obj and obj.state == JobState.RUNNING else []
        shown = ["state_shown", *filled, *held, "next_or_end", "of_delivery", "attempts_spent"]
        return [
            (None, {"fields": self.allowed(request, shown)}),
            ("More", {"classes": ["collapse"], "fields": DETAILS}),
        ]

    def view_on_site(self, job: Job) -> str:
        """Return the job's page in the console."""
        return reverse("console:job", args=[job.pk])

    def get_ordering(self, request: HttpRequest) -> list[str | Combinable]:
        return ORDERS.get(request.GET.get(StateFilter.parameter_name), NEWEST)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        if not search_term.strip():
            return queryset, False
        number, guid = number_of(search_term), guid_of(search_term)
        if number is not None:
            return queryset.filter(pk=number), False
        if guid is not None:
            # The deliveries are looked up first: then one index lookup finds the jobs, in an UPDATE too.
            deliveries = list(Delivery.objects.filter(guid=guid).values_list("pk", flat=True))
            return queryset.filter(delivery_id__in=deliveries), False
        messages.warning(request, "A job is found by its number or by the whole GUID of its delivery.")
        return queryset.none(), False

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **options: Any) -> Any:
        job = context["original"]
        context["may_view_attempts"] = self.may_view(request, Attempt)
        attempts = Attempt.objects.filter(job=job) if context["may_view_attempts"] else Attempt.objects.none()
        newest = attempts.order_by("-number")[: ATTEMPTS_SHOWN + 1]
        context["attempts"] = [_shown(attempt) for attempt in newest[:ATTEMPTS_SHOWN]]
        context["has_older_attempts"] = len(newest) > ATTEMPTS_SHOWN
        return super().render_change_form(request, context, *args, **options)

    @admin.display(description="job")
    def job(self, job: Job) -> str:
        return format_html('{} <span class="quiet line">queue {}</span>', job, job.queue)

    @admin.display(description="state")
    def state_shown(self, job: Job) -> str:
        return show.state(job.state)

    @admin.display(description="last error")
    def last_error(self, job: Job) -> str:
        return show.shortened(job.error)

    @admin.display(description="delivery")
    def of_delivery(self, job: Job) -> str:
        return format_html("{} {}", show.link(job.delivery, show.event(job.delivery)), job.delivery.repository)

    @admin.display(description="attempts")
    def attempts_spent(self, job: Job) -> str:
        return show.attempts(job)

    @admin.display(description="due or ended")
    def next_or_end(self, job: Job) -> str:
        return show.next_or_end(job)

    @admin.display(description="created")
    def created(self, job: Job) -> str:
        return show.moment(job.created_at)

    @admin.display(description="attempts count from")
    def budget_from(self, job: Job) -> str:
        return show.moment(job.budget_from_at)

    @admin.display(description="claimed")
    def claimed(self, job: Job) -> str:
        """Show where a running job is: its attempt has no row before it has ended."""
        claimed = format_html("by {} {}", job.worker, show.moment(job.claimed_at))
        return format_html("{}, begun {}", claimed, show.moment(job.started_at)) if job.started_at else claimed


def _shown(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "outcome": show.outcome(attempt),
        "started": show.moment(attempt.started_at),
        "duration": show.duration(attempt),
    }
