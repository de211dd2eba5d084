"""Flower's options, in one place. Flower itself reads this file (`--conf`), and only the names that it knows.

A file rather than flags or `FLOWER_BASIC_AUTH`: every user of the machine can read a process's arguments, and the
variable is split at commas, which a password may hold. What stands here also wins over any `FLOWER_…` variable.
"""

from django.conf import settings

from webhooks import listening

port = settings.HOOKLINE_FLOWER_PORT
# Tornado has `::` mean IPv6 alone, and no address every address.
address = "" if settings.HOOKLINE_HOST == "::" else listening.address_of(settings.HOOKLINE_HOST)
url_prefix = settings.HOOKLINE_FLOWER_PREFIX
basic_auth = [f"{settings.HOOKLINE_OPERATOR_USER}:{settings.HOOKLINE_OPERATOR_PASSWORD}"]
# Its persistence is a file for a single replica, and the inbox remembers more.
persistent = False
# Each one that it remembers takes 8 kB: its own default, 100,000, would be 800 MB. The inbox remembers all.
max_tasks = 10_000
# Under an autoscaler workers come and go, and each would stay on the page, and in the metrics, for ever.
purge_offline_workers = 60
