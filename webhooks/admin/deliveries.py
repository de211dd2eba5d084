"""Deliveries as rows. What became of one, its payload and its jobs are on its page in the console."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from webhooks.admin import show
from webhooks.admin.filters import EventFilter
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.admin.searching import guid_of, number_of
from webhooks.models import Delivery


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["delivery", "repository", "received", "sender", "source_name", "repeats"]
    list_display_links = ["delivery"]
    list_filter = [EventFilter]
    list_select_related = ["source"]
    list_defer = ("headers",)
    search_fields = ["guid"]
    search_help_text = "A whole GUID, a delivery's number, or a repository's full name."
    ordering = ["-received_at", "-id"]
    fieldsets = [
        (None, {"fields": ["event_shown", "repository", "received", "guid", "sender", "source_name", "repeated"]}),
        ("Headers and more", {"fields": ["header_table", "hook_id", "installation_id", "secret_fingerprint"]}),
    ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        guid, number = guid_of(term), number_of(term)
        if not term:
            return queryset, False
        if guid is not None:
            return queryset.filter(guid=guid), False
        if number is not None:
            return queryset.filter(pk=number), False
        return queryset.filter(repository=term), False

    def view_on_site(self, delivery: Delivery) -> str:
        """Return the delivery's page in the console."""
        return reverse("console:delivery", args=[delivery.pk])

    @admin.display(description="delivery")
    def delivery(self, delivery: Delivery) -> str:
        return format_html('{} <span class="quiet line guid">{}</span>', show.event(delivery), delivery.guid)

    @admin.display(description="event")
    def event_shown(self, delivery: Delivery) -> str:
        return show.event(delivery)

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
