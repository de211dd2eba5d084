"""Puts jobs into the inbox, due for an hour: two of the trial queue, one of another, and one whose run is lost."""

from datetime import timedelta

import django


def main() -> None:
    from django.db.models.functions import Now

    from tests.support.inbox_rows import make_job

    ago = Now() - timedelta(hours=1)
    for queue in ("trial", "trial", "left"):
        make_job("queued", handler="trial.work", queue=queue, publish_at=ago, due_at=ago)
    make_job("running", handler="trial.work", queue="trial", attempt=1, lease_until=ago)


if __name__ == "__main__":
    django.setup()
    main()
