"""What a worker does about its memory before it forks, so that children share what they can. Decision 0008 has figures.

A child shares its parent's memory, and gets a copy of each page that it writes to.

- The garbage collector writes to every object that it looks at, so a child's first full collection would copy all that
  the application has loaded. It does not look at frozen objects.
- Python adapts each function in its first runs, and libraries make some objects at first use. Each child would do this
  again, so the parent warms up: it does with a made-up job what a child does with a claimed one.
"""

import gc
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from billiard.util import get_pdeathsig  # type: ignore[attr-defined]  # The stubs lack it.
from django.conf import settings

from webhooks.github.payload import JSON
from webhooks.inbox.claimed_event import event_of
from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.outcomes import Outcome
from webhooks.states import AttemptOutcome
from workers.processes.immortal import make_immortal
from workers.runs import channels
from workers.runs.channels import Pair
from workers.runs.messages import Give, RunEnded

WARM_UP_RUNS = 20
"""Python adapts a function's code to its arguments in its first runs. With five runs, children hold 1 % more."""


def keep_loaded_shared(**_options: Any) -> None:
    """Warm up, free the garbage, and keep the collector and reference counts from writing to the other objects."""
    with suppress(OSError):  # Not on Linux.
        # Each child of Celery asks the kernel for a signal, by a parser of C where cffi is installed: loaded once here.
        get_pdeathsig()
    warm_up()
    gc.collect()
    if settings.HOOKLINE_IMMORTAL:
        make_immortal()
    gc.freeze()


def warm_up() -> None:
    """Receive jobs, make their events, and say how they ended, as a child does."""
    pair = Pair()
    outcome = Outcome(kind=AttemptOutcome.SUCCEEDED)
    for number in range(WARM_UP_RUNS):
        channels.send(pair.dispatcher, Give(_made_up_job(), recorded=number, pid=0, begins_by=0.0))
        job = channels.receive(pair.child).job
        event_of(job)
        ended = RunEnded(number, job.pk, job.attempt, None, outcome, pid=0, began_at=0.0, ended_at=0.0, is_last=False)
        channels.send(pair.child, ended)
        channels.receive(pair.dispatcher)
    pair.close()


def _made_up_job() -> ClaimedJob:
    now = datetime.now(UTC)
    return ClaimedJob(
        pk=0,
        handler="warm_up",
        queue="",
        attempt=1,
        max_attempts=1,
        forgiven=0,
        lost=0,
        budget_from_attempt=0,
        budget_from_at=now,
        claimed_at=now,
        due_at=now,
        delivery_id=0,
        event="ping",
        action="",
        guid=UUID(int=0),
        hook_id=0,
        repository="",
        installation_id=None,
        sender="",
        received_at=now,
        source="",
        content_type=JSON,
        traceparent=None,
        once_key=None,
        body_bytes=2,
        body=b"{}",
    )
