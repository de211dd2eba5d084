"""The table's page in the admin."""

from django.contrib import admin

from merges.models import Merge


@admin.register(Merge)
class MergeAdmin(admin.ModelAdmin):
    list_display = ["repository", "number", "merged_at"]
    search_fields = ["repository__startswith"]
