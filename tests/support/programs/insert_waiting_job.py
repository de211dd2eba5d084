"""Stores a delivery as the receiver does, with one job that waits for a relay since long ago."""

from datetime import UTC, datetime

import django


def main() -> None:
    from tests.support.inbox_rows import new_delivery
    from webhooks.inbox.store import store
    from webhooks.models import Job
    from webhooks.subscriptions.installed import installed_subscriptions

    subscription = installed_subscriptions().get("trial.work")
    assert subscription is not None
    store(new_delivery(event="ping", subscriptions=[subscription]))
    Job.objects.update(publish_at=datetime(2020, 1, 1, tzinfo=UTC))


if __name__ == "__main__":
    django.setup()
    main()
