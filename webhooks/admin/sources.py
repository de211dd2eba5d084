"""Sources: where deliveries come from. The settings say which there are; an operator may correct only the URL."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from webhooks.admin import show
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.models import Source


@admin.register(Source)
class SourceAdmin(ReadOnlyAdmin):
    list_display = ["name", "url", "created"]
    ordering = ["name"]
    fields = ["name", "url", "created"]
    readonly_fields = ["name", "created"]
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("webhooks.change_source")

    @admin.display(description="created")
    def created(self, source: Source) -> str:
        return show.moment(source.created_at)
