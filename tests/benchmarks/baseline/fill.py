"""Stores webhooks and sends a message for each, as the view does, but many at a time: `fill COUNT BODY_FILE`."""

import json
import sys
import uuid
from pathlib import Path

import django

COUNT_A_STATEMENT = 500


def main(count: int, body: Path) -> None:
    django.setup()
    from tests.benchmarks.baseline.celery import app, work
    from tests.benchmarks.baseline.models import Webhook

    payload = json.loads(body.read_text())
    webhooks = (Webhook(guid=uuid.uuid4(), event="repository_dispatch", payload=payload) for _ in range(count))
    stored = Webhook.objects.bulk_create(webhooks, batch_size=COUNT_A_STATEMENT)
    with app.producer_or_acquire() as producer:
        for webhook in stored:
            work.apply_async((webhook.pk,), producer=producer)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
