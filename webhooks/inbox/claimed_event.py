"""Makes the Event that the handler of a claimed job is given, from the job's delivery and its payload."""

from functools import partial

from django.db import Error, connection

from webhooks.github.payload import parse
from webhooks.inbox import database
from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.engine import payload_of
from webhooks.inbox.kept_bodies import UnreadableBodyError, opened
from webhooks.subscriptions.event import Event, GiveUp, RetryLater

PAYLOAD_AGAIN_SECONDS = 2.0


def event_of(job: ClaimedJob) -> Event:
    """Return the Event for the handler of a claimed job. If it cannot be made, raise what ends the run."""
    return Event(
        name=job.event,
        action=job.action,
        payload=parse(body_of(job), content_type=job.content_type or ""),
        delivery=str(job.guid),
        source=job.source,
        hook_id=job.hook_id,
        repository=job.repository,
        installation_id=job.installation_id,
        sender=job.sender,
        received_at=job.received_at,
        idempotency_key=idempotency_key(job),
    )


def idempotency_key(job: ClaimedJob) -> str:
    """Return what is the same in every run of this handler for this delivery."""
    return job.once_key or f"{job.source}:{job.hook_id}:{job.guid}:{job.handler}"


def body_of(job: ClaimedJob) -> bytes:
    """Return the raw body of a claimed job's delivery. If it cannot be read, raise what ends the run."""
    try:
        return _read(job) if job.body is None else opened(job.body)
    except UnreadableBodyError as error:
        # A further attempt would find the same keys. Once they are right, an operator runs the dead jobs again.
        raise GiveUp(str(error)) from None


def _read(job: ClaimedJob) -> bytes:
    is_in_use = connection.connection is not None
    try:
        body = database.run(partial(payload_of, job.delivery_id))
    except Error as error:
        if not database.is_outage(error):
            raise
        if "out of memory" in str(error) and not database.sqlstate(error):  # libpq's own, about this process.
            raise MemoryError("The payload takes more memory than the process may have.") from None
        raise RetryLater("The database was away as the payload was read.", after=PAYLOAD_AGAIN_SECONDS) from None
    finally:
        if not is_in_use:
            connection.close()  # A process keeps one only for a handler that uses the database.
    if body is None:
        raise GiveUp("The payload has been pruned.")
    return body
