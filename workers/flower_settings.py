"""Flower's options, in one place. Flower itself reads this file (`--conf`), and only the names that it knows.

A file rather than flags or `FLOWER_BASIC_AUTH`: every user of the machine can read a process's arguments, and the
variable is split at commas, which a password may hold. The values here also win over any `FLOWER_…` variable, and each
option that has to do with signing in is here.
"""

from django.conf import settings

from webhooks import listening
from workers import flower_access, flower_pages

port = settings.HOOKLINE_FLOWER_PORT
# For Tornado, `::` means IPv6 only, and an empty address means every address.
address = "" if settings.HOOKLINE_HOST == "::" else listening.address_of(settings.HOOKLINE_HOST)
url_prefix = settings.HOOKLINE_FLOWER_PREFIX
# If both were set, Flower would ask for both.
_password = f"{settings.HOOKLINE_OPERATOR_USER}:{settings.HOOKLINE_OPERATOR_PASSWORD}"
basic_auth = [] if flower_access.by_oauth() else [_password]
auth_provider = settings.HOOKLINE_FLOWER_OAUTH["auth_provider"]
auth = settings.HOOKLINE_FLOWER_OAUTH["auth"]
oauth2_key = settings.HOOKLINE_FLOWER_OAUTH["oauth2_key"]
oauth2_secret = settings.HOOKLINE_FLOWER_OAUTH["oauth2_secret"]
oauth2_redirect_uri = settings.HOOKLINE_FLOWER_OAUTH["oauth2_redirect_uri"]
flower_pages.close_metrics()
# Flower's persistence is a file for a single replica. The inbox has more, and keeps it.
persistent = False
# Each task in Flower's memory takes 8 kB: its default, 100,000 tasks, would be 800 MB. The inbox has all jobs.
max_tasks = 10_000
# With an autoscaler, workers start and end often. Each would stay on the page, and in the metrics, for ever.
purge_offline_workers = 60
