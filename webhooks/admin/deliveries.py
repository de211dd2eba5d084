"""Deliveries: whether one was received, how its jobs ended, and its payload."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join

from webhooks.admin import show
from webhooks.admin.filters import EventFilter
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.admin.preview import content_type, preview
from webhooks.admin.searching import guid_of
from webhooks.github.event_names import EVENT_NAMES
from webhooks.github.payload import FORM, JSON
from webhooks.models import Delivery, Job, Payload

_SUFFIXES = {JSON: "json", FORM: "txt"}


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["job_states", "delivery", "repository", "received", "sender", "source_name", "repeats"]
    list_display_links = ["delivery"]
    list_filter = [EventFilter]
    list_select_related = ["source"]
    list_defer = ("headers",)
    shows_of = {"job_states": Job}
    list_prefetch_related = (Prefetch("jobs", Job.objects.only("delivery_id", "state")),)
    search_fields = ["guid"]
    search_help_text = (
        "A whole GUID; an event's name, such as push; or a repository's full name or, where none is called so, "
        "the start of one, such as acme/."
    )
    ordering = ["-received_at", "-id"]
    change_form_template = "admin/webhooks/delivery/change_form.html"
    fieldsets = [
        (None, {"fields": ["event_shown", "repository", "received", "guid", "sender", "source_name", "repeated"]}),
        (
            "Headers and more",
            {"classes": ["collapse"], "fields": ["header_table", "hook_id", "installation_id", "secret_fingerprint"]},
        ),
    ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        term = search_term.strip()
        guid = guid_of(term)
        if not term:
            return queryset, False
        if guid is not None:
            return queryset.filter(guid=guid), False
        if term in EVENT_NAMES:
            return queryset.filter(event=term), False
        exact = queryset.filter(repository=term)
        return exact if exact.order_by().exists() else queryset.filter(repository__startswith=term), False

    def get_urls(self) -> list[URLPattern]:
        download = self.admin_site.admin_view(self.payload_view)
        return [path("<path:object_id>/payload/", download, name="webhooks_delivery_payload"), *super().get_urls()]

    def payload_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send the raw body, unchanged, as a download."""
        if not (self.has_view_permission(request) and request.user.has_perm("webhooks.view_payload")):
            raise PermissionDenied
        delivery = self.get_object(request, unquote(object_id))
        payload = Payload.objects.filter(pk=delivery.pk).first() if delivery else None
        if delivery is None or payload is None:
            raise Http404("There is no such delivery, or its payload was pruned.")
        kind = content_type(delivery)
        # Only these types were accepted. The browser never gets a type whose content it would run.
        response = HttpResponse(
            bytes(payload.body), content_type=kind if kind in _SUFFIXES else "application/octet-stream"
        )
        name = f"{delivery.event}-{delivery.guid}.{_SUFFIXES.get(kind, 'bin')}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **options: Any) -> Any:
        delivery = context["original"]
        context["may_view_jobs"] = self.may_view(request, Job)
        context["jobs"] = [_shown(job) for job in delivery.jobs.order_by("id")] if context["may_view_jobs"] else []
        context["from_other_hooks"] = [_shown_delivery(other) for other in _from_other_hooks(delivery)]
        context["may_view_payload"] = request.user.has_perm("webhooks.view_payload")
        if context["may_view_payload"]:
            context["payload"] = preview(delivery)
        return super().render_change_form(request, context, *args, **options)

    @admin.display(description="delivery")
    def delivery(self, delivery: Delivery) -> str:
        return format_html('{} <span class="quiet line guid">{}</span>', show.event(delivery), delivery.guid)

    @admin.display(description="event")
    def event_shown(self, delivery: Delivery) -> str:
        return show.event(delivery)

    @admin.display(description="jobs")
    def job_states(self, delivery: Delivery) -> str:
        return show.states_at_a_glance(delivery.jobs.all())

    @admin.display(description="source")
    def source_name(self, delivery: Delivery) -> str:
        """Show only the name: Django's own column is a link, even for users who may not follow it."""
        return delivery.source.name

    @admin.display(description="received")
    def received(self, delivery: Delivery) -> str:
        return show.moment(delivery.received_at)

    @admin.display(description="repeats")
    def repeated(self, delivery: Delivery) -> str:
        if not delivery.repeats:
            return "none"
        return format_html("{}, last {}", delivery.repeats, show.moment(delivery.last_repeat_at))

    @admin.display(description="headers")
    def header_table(self, delivery: Delivery) -> str:
        rows = format_html_join("", "<tr><th scope='row'>{}</th><td>{}</td></tr>", sorted(delivery.headers.items()))
        return format_html('<table class="headers">{}</table>', rows)


def _from_other_hooks(delivery: Delivery) -> QuerySet[Delivery]:
    """Return the deliveries of the same event by other hooks; the GUID's index finds them."""
    same = Delivery.objects.filter(guid=delivery.guid, source=delivery.source_id).exclude(pk=delivery.pk)
    return same.prefetch_related(Prefetch("jobs", Job.objects.only("delivery_id", "state"))).order_by("id")


def _shown_delivery(other: Delivery) -> dict[str, Any]:
    return {
        "link": show.link(other, f"delivery {other.pk}"),
        "hook": other.hook_id,
        "received": show.moment(other.received_at),
        "jobs": show.states_at_a_glance(other.jobs.all()),
    }


def _shown(job: Job) -> dict[str, Any]:
    return {
        "job": job,
        "link": show.link(job, str(job)),
        "state": show.state(job.state),
        "attempts": show.attempts(job),
        "next_or_end": show.next_or_end(job),
    }
