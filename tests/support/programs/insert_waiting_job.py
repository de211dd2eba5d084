"""Stores a delivery as the receiver does, with one job that waits for a relay since long ago."""

import uuid
from datetime import UTC, datetime

import django


def main() -> None:
    from webhooks.inbox.store import NewDelivery, store
    from webhooks.models import Job
    from webhooks.subscriptions.installed import installed_subscriptions

    subscription = installed_subscriptions().get("trial.work")
    assert subscription is not None
    delivery = NewDelivery(
        source="github",
        hook_id=1,
        guid=uuid.uuid4(),
        event="ping",
        action="",
        repository="",
        installation_id=None,
        sender="",
        secret_fingerprint="",
        headers={},
        body=b"{}",
        subscriptions=[subscription],
    )
    store(delivery)
    Job.objects.update(publish_at=datetime(2020, 1, 1, tzinfo=UTC))


if __name__ == "__main__":
    django.setup()
    main()
