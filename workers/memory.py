"""What a worker does about its memory before it forks, so that children share what they can. Decision 0008 has figures.

A child shares its parent's memory, and gets a copy of each page that it writes to.

- The garbage collector writes to every object that it looks at, so a child's first full collection would copy all that
  the application has loaded. It does not look at frozen objects.
- Django and psycopg make some objects at first use, and Python adapts each function in its first runs. Each child would
  do this again, so the parent warms up: it claims and records some jobs, and rolls them back.

No connection to the database may be open at the fork: children would share it.
"""

import gc
import logging
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import Error, connection, transaction

from webhooks.github.payload import JSON
from webhooks.inbox import database
from webhooks.inbox.claimed_event import event_of
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import claim, record
from webhooks.models import Delivery, Job, Payload, Source
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.subscription import Backoff
from workers.processes.immortal import make_immortal

WARM_UP_RUNS = 20
"""Python adapts a function's code to its arguments in its first runs. With five runs, children hold 1 % more."""
HEADERS = {"Content-Type": JSON}
LONGEST_WAIT = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'"
"""A migration may lock a table. Then the worker starts without the warm-up."""

logger = logging.getLogger(__name__)


def keep_loaded_shared(**_options: Any) -> None:
    """Warm up, free the garbage, and keep the collector and reference counts from writing to the other objects."""
    warm_up()
    gc.collect()
    if settings.HOOKLINE_IMMORTAL:
        make_immortal()
    gc.freeze()


def warm_up() -> None:
    """Claim and record jobs in a transaction that is rolled back, on PostgreSQL; leave no connection open.

    If that fails, the worker still starts, and its children use more memory. On SQLite the transaction would keep all
    others from writing, and nobody runs many children there.
    """
    if connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(LONGEST_WAIT)
            _run_jobs()
            transaction.set_rollback(True)
    except Error as error:
        reason = f"the database {database.reason(error)}"
        logger.warning("warm-up failed; the children will use more memory", extra={"reason": reason})
    finally:
        connection.close()


def _run_jobs() -> None:
    # A unique name. With the same name, two workers that start at once would wait for each other.
    source = Source.objects.create(name=f"warm-up-{uuid4()}")
    delivery = Delivery.objects.create(source=source, hook_id=0, guid=uuid4(), headers=HEADERS, body_bytes=2)
    Payload.objects.create(delivery=delivery, body=b"{}")
    outcome = Outcome(kind=AttemptOutcome.SUCCEEDED)
    for number in range(WARM_UP_RUNS):
        queued = Job.objects.create(delivery=delivery, handler=f"warm_up.{number}", queue="", max_attempts=1)
        if job := claim(queued.pk, worker="", pid=0, lease_seconds=1.0):
            event_of(job)
            record(job, outcome, age_seconds=0.0, backoff=Backoff())
