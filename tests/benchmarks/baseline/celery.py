"""The baseline's Celery app and its one task."""

import os
import time

import celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.baseline.settings")
app = celery.Celery("baseline")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task(ignore_result=True)
def work(webhook_id: int) -> None:
    """Work as long as the payload says, and note that it is done; of one that says when it was sent, note its wait."""
    from tests.benchmarks.baseline.models import Webhook

    began_at = time.time()
    webhook = Webhook.objects.get(pk=webhook_id)
    told = webhook.payload["client_payload"]
    waited_ms = 1000 * (began_at - told["sent_at"]) if "sent_at" in told else 0
    time.sleep(told.get("seconds", 0))
    Webhook.objects.filter(pk=webhook_id).update(state="done", waited_ms=waited_ms)
