"""The inbox in Django's admin: what an operator on call looks at, and the two things that he may do about it.

Rows are for looking only. A job's state is changed by "run again" and "give up" alone, through `inbox/transitions.py`.
"""

from django.contrib import admin

from webhooks.admin import attempts, deliveries, jobs, people, sources

__all__ = ["attempts", "deliveries", "jobs", "people", "sources"]

admin.site.site_header = "Hookline"
admin.site.site_title = "Hookline"
admin.site.index_title = "Overview"
admin.site.enable_nav_sidebar = False  # The lists need the width.
