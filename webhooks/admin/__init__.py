"""The inbox in Django's admin: what an operator on call looks at, and the two things that the operator may do.

Rows are read-only. Only "run again" and "give up" change a job's state, through `inbox/transitions.py`.
"""

from django.contrib import admin

from webhooks.admin import attempts, deliveries, jobs, people, sources

__all__ = ["attempts", "deliveries", "jobs", "people", "sources"]

admin.site.site_header = "Hookline"
admin.site.site_title = "Hookline"
admin.site.index_title = "Overview"
admin.site.enable_nav_sidebar = False  # The lists need the width.
