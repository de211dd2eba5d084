"""Posts signed webhooks to the receiver in this process, and runs their jobs. Needs Django and a database.

The receiver's own code handles the delivery, from the view to the rows of the inbox, and each job is claimed, run and
recorded there. There are no threads, no broker and no worker processes, so no time limit is enforced.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.test import Client

from webhooks.github.payload import JSON
from webhooks.github.sender import SAMPLE_HOOK_ID, Message
from webhooks.inbox.foreground import run_job
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.inbox.outcomes import Outcome
from webhooks.models import Job
from webhooks.paths import WEBHOOKS
from webhooks.receiver import views
from webhooks.source_secrets import variable_of
from webhooks.subscriptions.event import no_client
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Subscription
from webhooks.testing.events import payload_of

if TYPE_CHECKING:
    from webhooks.testing.github import FakeGitHub

WORKER = "webhooks.testing"

T = TypeVar("T")


def deliver(
    name: str,
    /,
    *,
    guid: str | None = None,
    payload: Mapping[str, Any] | None = None,
    github: "FakeGitHub | None" = None,
    **overrides: Any,
) -> dict[str, Outcome]:
    """Post a signed webhook, made as `event` makes one, and run its jobs; return each handler's outcome by its name.

    `github` is what `run.github` gives. A handler that the event does not match has no job, and so no outcome.
    The same `guid` again is a redelivery.
    Raises AssertionError if the receiver answers anything but 2xx.
    """
    source = settings.HOOKLINE_SOURCES[0]
    body = json.dumps(payload_of(name, payload, overrides)).encode()
    secrets = settings.HOOKLINE_SECRETS[source]
    if not secrets:
        raise AssertionError(f"Source {source} has no secret here; give {variable_of(source)}.")
    message = Message.signed(name, body, secret=secrets[0])
    headers = message.headers(hook_id=SAMPLE_HOOK_ID, guid=guid)
    answer = Client().post(f"{WEBHOOKS}{source}", body, content_type=JSON, headers=headers, secure=True)
    if not 200 <= answer.status_code < 300:
        raise AssertionError(f"The receiver answered {answer.status_code}: {answer.content.decode()}")
    jobs = Job.objects.filter(delivery_id=answer.json()["delivery"]).order_by("id")
    outcomes = {job.handler: _run(job.pk, job.handler, github) for job in jobs}
    return {handler: outcome for handler, outcome in outcomes.items() if outcome is not None}


def _run(job_id: int, handler: str, github: "FakeGitHub | None") -> Outcome | None:
    """Claim a job, run its handler and record the outcome; None if the job cannot be claimed."""
    ran = run_job(
        job_id, _subscription(handler), worker=WORKER, open_github=(lambda: github.client) if github else no_client
    )
    return ran.outcome if ran else None


def _subscription(handler: str) -> Subscription:
    found = installed_subscriptions().get(handler)
    assert found is not None, "The receiver has just made its job."
    return found


@contextmanager
def receiver_in_this_thread() -> Iterator[None]:
    """Let the receiver's views write to the database from the test's own thread, and publish nothing."""
    replaced: dict[str, Any] = {"committer": _Committer, "publisher": _Publisher}
    before = {name: getattr(views, name) for name in replaced}
    views.rules.cache_clear()  # The settings may be this test's own.
    for name, replacement in replaced.items():
        setattr(views, name, replacement)
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(views, name, original)
        views.rules.cache_clear()


class _Committer:
    """Runs the receiver's transaction at once, in the caller's thread."""

    def run(self, work: Callable[[], T], *, stored_bytes: int = 0) -> T:
        return work()


class _Publisher:
    """Takes the jobs and does nothing: `deliver` runs them itself."""

    def offer(self, jobs: tuple[JobToPublish, ...]) -> None:
        pass
