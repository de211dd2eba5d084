"""The sample deliveries of `make run`: whether the receiver and Flower answer, sending, whether the jobs are done."""

import http.client
import io
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from deploy.preparation import QuickstartError
from webhooks.listening import url_of
from webhooks.paths import READYZ

FINAL = frozenset({"succeeded", "dead", "skipped"})


def receiver_is_ready() -> bool:
    return _status(settings.HOOKLINE_PORT, READYZ) == http.client.OK


def flower_answers() -> bool:
    return _status(settings.HOOKLINE_FLOWER_PORT, f"{flower_path()}healthcheck") == http.client.OK


def flower_path() -> str:
    prefix = settings.HOOKLINE_FLOWER_PREFIX
    return f"/{prefix}/" if prefix else "/"


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(urlsplit(url_of(settings.HOOKLINE_HOST, port)).netloc, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples that were sent. What was in the inbox before them does not count."""

    after_delivery_id: int
    sent_at: float

    def deliveries(self) -> int:
        from webhooks.models import Delivery

        return Delivery.objects.filter(id__gt=self.after_delivery_id).count()

    def jobs(self) -> Counter[str]:
        """Return how many of their jobs are in each state."""
        from webhooks.models import Job

        return Counter(Job.objects.filter(delivery_id__gt=self.after_delivery_id).values_list("state", flat=True))

    def are_done(self) -> bool:
        return not set(self.jobs()) - FINAL

    def in_words(self, seconds: float) -> str:
        """Return one line on them, for a person."""
        jobs = self.jobs()
        states = ", ".join(f"{count} {state}" for state, count in sorted(jobs.items()))
        line = f"{self.deliveries()} signed deliveries sent and stored"
        if not jobs:
            return f"{line}; no handler here is subscribed to any of them"
        line += f"; their {jobs.total()} jobs: {states}" if jobs.total() > 1 else f"; their one job: {states}"
        if self.are_done():
            return f"{line}, within {time.monotonic() - self.sent_at:.1f} s"
        return f"{line}. Not all were done after {seconds:.0f} s: see `manage.py inbox` and the worker's log"


def send() -> Samples:
    """Send one signed sample of each kind to the receiver."""
    from webhooks.models import Delivery

    newest = Delivery.objects.order_by("-id").values_list("id", flat=True).first()
    samples = Samples(after_delivery_id=newest or 0, sent_at=time.monotonic())
    answers = io.StringIO()
    try:
        call_command("send_webhook", "all", source=settings.HOOKLINE_SOURCES[0], stdout=answers)
    except CommandError as error:
        raise QuickstartError(f"the samples could not be sent: {error}") from None
    return samples
