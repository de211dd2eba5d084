"""Keeps a row for each pull request that is merged. A second run finds the row of the first, by the unique key.

After a change of models.py, write its migration and restart `make run`, which migrates:

    PYTHONPATH=examples HOOKLINE_APPS=merges .venv/bin/python manage.py makemigrations merges
"""

from datetime import datetime

from merges.models import Merge
from webhooks import Event, on


@on("pull_request", actions=["closed"], where={"pull_request.merged": True})
def keep_merge(event: Event) -> str:
    pull_request = event.payload["pull_request"]
    merge, is_new = Merge.objects.get_or_create(
        key=event.idempotency_key,
        defaults={
            "repository": event.repository,
            "number": pull_request["number"],
            "merged_at": datetime.fromisoformat(pull_request["merged_at"]),
        },
    )
    return f"{merge} is {'kept' if is_new else 'kept already'}"
