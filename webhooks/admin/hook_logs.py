"""Hook logs: which of GitHub's logs are read. One that is no longer read is deleted here: else its alert stays."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from webhooks.admin import show
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.models import HookLog


@admin.register(HookLog)
class HookLogAdmin(ReadOnlyAdmin):
    list_display = ["source", "hook", "hook_id", "completed"]
    ordering = ["source", "hook"]
    fields = ["source", "hook", "hook_id", "completed"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("webhooks.delete_hooklog")

    @admin.display(description="last complete pass")
    def completed(self, log: HookLog) -> str:
        return show.moment(log.completed_at)
