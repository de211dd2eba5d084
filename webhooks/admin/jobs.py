"""Jobs: which ran, which did not and why; the operations "run again" and "give up"."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from webhooks.admin import show
from webhooks.admin.confirmation import Wish, ask_or_carry_out
from webhooks.admin.filters import HandlerFilter, QueueFilter, StateFilter
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.admin.searching import guid_of, number_of
from webhooks.inbox.operations import GIVE_UP, OPERATIONS, RUN_AGAIN, Operation
from webhooks.models import Attempt, Delivery, Job, Payload
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
    actions = ["run_again", "give_up"]
    change_form_template = "admin/webhooks/job/change_form.html"

    def get_fieldsets(self, request: HttpRequest, obj: Job | None = None) -> list[Any]:
        filled = [name for name in ("error", "result") if getattr(obj, name)]
        held = ["claimed"] if obj and obj.state == JobState.RUNNING else []
        shown = ["state_shown", *filled, *held, "next_or_end", "of_delivery", "attempts_spent"]
        return [
            (None, {"fields": self.allowed(request, shown)}),
            ("More", {"classes": ["collapse"], "fields": DETAILS}),
        ]

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

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may run jobs again and give them up. Django calls this for the actions."""
        return request.user.has_perm("webhooks.change_job")

    @admin.action(description="Run again", permissions=["operate"])
    def run_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._operate_on_selection(request, RUN_AGAIN, queryset)

    @admin.action(description="Give up", permissions=["operate"])
    def give_up(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._operate_on_selection(request, GIVE_UP, queryset)

    def _operate_on_selection(
        self, request: HttpRequest, operation: Operation, jobs: QuerySet[Job]
    ) -> HttpResponse | None:
        is_across_pages = request.POST.get("select_across") == "1"
        is_narrowed = request.GET.get(StateFilter.parameter_name) or request.GET.get(SEARCH_VAR, "").strip()
        if is_across_pages and not is_narrowed:
            messages.error(
                request,
                "Nothing was changed. To act on jobs of all pages, filter by one state first: "
                "across all states this would reach every job that ever ran.",
            )
            return None
        return ask_or_carry_out(
            Wish(
                request=request,
                model_admin=self,
                operation=operation,
                jobs=jobs,
                is_by_filter=is_across_pages,
                back=request.get_full_path(),
            )
        )

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<path:object_id>/{operation.name}/",
                self.admin_site.admin_view(require_POST(partial(self.operate_view, operation=operation))),
                name=f"webhooks_job_{operation.name}",
            )
            for operation in OPERATIONS
        ]
        return own + super().get_urls()

    def operate_view(self, request: HttpRequest, object_id: str, *, operation: Operation) -> HttpResponse:
        """Show the confirmation for a button of the job's page, and carry the operation out."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        job = self.get_object(request, unquote(object_id))
        if job is None:
            raise Http404
        page = reverse("admin:webhooks_job_change", args=[job.pk])
        context: dict[str, Any] = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return ask_or_carry_out(
            Wish(
                request=request,
                model_admin=self,
                operation=operation,
                jobs=Job.objects.filter(pk=job.pk),
                back=add_preserved_filters(context, page),
            )
        )

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **options: Any) -> Any:
        job = context["original"]
        context["may_view_attempts"] = self.may_view(request, Attempt)
        attempts = Attempt.objects.filter(job=job) if context["may_view_attempts"] else Attempt.objects.none()
        newest = attempts.order_by("-number")[: ATTEMPTS_SHOWN + 1]
        may_operate = self.has_operate_permission(request)
        has_payload = Payload.objects.filter(pk=job.delivery_id).exists()
        context["operations"] = [
            each for each in OPERATIONS if may_operate and not each.refusal(job.state, has_payload=has_payload)
        ]
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
