"""Destinations: what is stored of each, without its URL and secrets. The console's page Destinations changes them."""

from django.contrib import admin

from webhooks.admin import show
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.inbox.destinations.changing import origin_of
from webhooks.models import Destination


@admin.register(Destination)
class DestinationAdmin(ReadOnlyAdmin):
    list_display = ["name", "is_enabled", "queue", "sends_to", "succeeded", "failed"]
    ordering = ["-id"]
    fields = (
        *("name", "is_enabled", "sends_to", "events", "actions", "repository", "where", "header_names", "signing"),
        *("time_limit", "max_attempts", "backoff_seconds", "queue", "fair_by", "one_at_a_time_by", "latest_only_by"),
        *("allow_private", "version", "created", "created_by", "changed", "changed_by"),
        *("succeeded", "failed", "failure", "failures", "opened", "next_try", "tries"),
    )

    @admin.display(description="sends to")
    def sends_to(self, row: Destination) -> str:
        return origin_of(row.url)

    @admin.display(description="created")
    def created(self, row: Destination) -> str:
        return show.moment(row.created_at)

    @admin.display(description="changed")
    def changed(self, row: Destination) -> str:
        return show.moment(row.changed_at)

    @admin.display(description="last success")
    def succeeded(self, row: Destination) -> str:
        return show.moment(row.succeeded_at)

    @admin.display(description="last failure")
    def failed(self, row: Destination) -> str:
        return show.moment(row.failed_at)

    @admin.display(description="breaker open since")
    def opened(self, row: Destination) -> str:
        return show.moment(row.opened_at)

    @admin.display(description="next try")
    def next_try(self, row: Destination) -> str:
        return show.moment(row.next_try_at)
