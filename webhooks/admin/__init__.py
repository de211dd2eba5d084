"""The inbox in Django's admin: raw rows, read-only, and what people changed. The console has the operator's pages."""

from django.contrib import admin

from webhooks.admin import attempts, changes, deliveries, destinations, hook_logs, jobs, people, secrets, sources

__all__ = ["attempts", "changes", "deliveries", "destinations", "hook_logs", "jobs", "people", "secrets", "sources"]

admin.site.site_header = "Hookline"
admin.site.site_title = "Hookline"
admin.site.index_title = "Overview"
admin.site.enable_nav_sidebar = False  # The lists need the width.
