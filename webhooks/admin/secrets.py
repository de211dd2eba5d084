"""Webhook secrets: what is known of each, and never its value. The console's page Sources changes them."""

from django.contrib import admin

from webhooks.admin import show
from webhooks.admin.lists import ReadOnlyAdmin
from webhooks.models import SecretUse, SourceSecret


@admin.register(SourceSecret)
class SourceSecretAdmin(ReadOnlyAdmin):
    list_display = ["fingerprint", "of_source", "created", "ends", "retired"]
    list_select_related = ["source"]
    ordering = ["-id"]
    fields = ["of_source", "fingerprint", "note", "created", "created_by", "ends", "retired", "retired_by"]

    @admin.display(description="source")
    def of_source(self, secret: SourceSecret) -> str:
        return secret.source.name  # No link: its page needs a permission of its own.

    @admin.display(description="created")
    def created(self, secret: SourceSecret) -> str:
        return show.moment(secret.created_at)

    @admin.display(description="not after")
    def ends(self, secret: SourceSecret) -> str:
        return show.moment(secret.not_after)

    @admin.display(description="retired")
    def retired(self, secret: SourceSecret) -> str:
        return show.moment(secret.retired_at)


@admin.register(SecretUse)
class SecretUseAdmin(ReadOnlyAdmin):
    list_display = ["fingerprint", "source", "known_since", "last_used"]
    ordering = ["source", "-id"]
    fields = ["source", "fingerprint", "known_since", "last_used"]

    @admin.display(description="since")
    def known_since(self, use: SecretUse) -> str:
        return show.moment(use.since)

    @admin.display(description="last used")
    def last_used(self, use: SecretUse) -> str:
        return show.moment(use.last_used_at)
