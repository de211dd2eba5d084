"""Stores a delivery with its jobs, or counts the repeat of a stored one. No decisions."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import Error, IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from webhooks.inbox import database, due, transitions
from webhooks.inbox.engine import engine
from webhooks.models import Delivery, Job, Payload, Source
from webhooks.states import JobState
from webhooks.subscriptions.subscription import Subscription

LOCK_MILLISECONDS = 800
"""So two tries fit into the time for which a delivery waits for its transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A verified delivery, with the subscriptions that it matches."""

    source: str
    hook_id: int
    guid: uuid.UUID
    event: str
    action: str
    repository: str
    installation_id: int | None
    sender: str
    secret_fingerprint: str
    headers: Mapping[str, str]
    body: bytes
    subscriptions: Sequence[Subscription]


@dataclass(frozen=True, slots=True)
class JobToPublish:
    """The job's values that its message needs."""

    id: int
    handler: str
    queue: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A delivery's row in the inbox, and its jobs that are to be published."""

    delivery_id: int
    is_duplicate: bool
    job_count: int
    to_publish: tuple[JobToPublish, ...]


def store(new: NewDelivery) -> Stored:
    """Commit a delivery and its jobs. If it is stored already, count the repeat and queue its dead jobs again."""
    try:
        with transaction.atomic():
            return _insert(new)
    except IntegrityError:
        with transaction.atomic():
            repeated = _count_repeat(new)
    if repeated is not None:
        return repeated
    # The row with the same GUID has been pruned meanwhile, so this insert succeeds. Any other error is raised now.
    with transaction.atomic():
        return _insert(new)


def try_to_store(source: str, subscriptions: Sequence[Subscription]) -> None:
    """Store an ordinary delivery, roll it back to a savepoint, and commit. Raises the error of the next delivery.

    Since something was written, the commit waits for the disk, and for a standby, as a delivery's does.
    """
    with transaction.atomic():
        # A statement that waits for a lock does not notice that the request has stopped waiting.
        engine().limit_lock_wait(milliseconds=LOCK_MILLISECONDS)
        before = transaction.savepoint()
        try:
            _insert(_ordinary(source, subscriptions))
        except Error as error:
            if database.is_outage(error):
                raise
            # Nothing is wrong with this row, so the next delivery would be refused too.
            raise database.RefusedError from error
        transaction.savepoint_rollback(before)


def _ordinary(source: str, subscriptions: Sequence[Subscription]) -> NewDelivery:
    return NewDelivery(
        source=source,
        hook_id=0,
        guid=uuid.uuid4(),
        event="ping",
        action="",
        repository="",
        installation_id=None,
        sender="",
        secret_fingerprint="",
        headers={},
        body=b"{}",
        subscriptions=subscriptions,
    )


def _insert(new: NewDelivery) -> Stored:
    source, _ = Source.objects.get_or_create(name=new.source)
    delivery = Delivery.objects.create(
        source=source,
        hook_id=new.hook_id,
        guid=new.guid,
        event=new.event,
        action=new.action,
        repository=new.repository,
        installation_id=new.installation_id,
        sender=new.sender,
        secret_fingerprint=new.secret_fingerprint,
        headers=dict(new.headers),
        body_bytes=len(new.body),
    )
    Payload.objects.create(delivery=delivery, body=new.body)
    to_publish = tuple(JobToPublish(job.pk, job.handler, job.queue) for job in _insert_jobs(new, delivery))
    return Stored(delivery.pk, is_duplicate=False, job_count=len(to_publish), to_publish=to_publish)


def _insert_jobs(new: NewDelivery, delivery: Delivery) -> Sequence[Job]:
    """Insert the delivery's jobs and return them, without those that another hook's delivery already has."""
    keys = _once_keys(new)
    jobs = [
        Job(
            delivery=delivery,
            handler=subscription.name,
            queue=subscription.queue,
            max_attempts=subscription.max_attempts,
            publish_at=Now() + due.PUBLISH_GRACE,
            once_key=keys.get(subscription.name),
        )
        for subscription in new.subscriptions
    ]
    if not keys:
        return Job.objects.bulk_create(jobs)
    # An insert waits for another transaction with the same key. All transactions insert in the same order, so there is
    # no deadlock.
    Job.objects.bulk_create(sorted(jobs, key=lambda job: job.handler), ignore_conflicts=True)
    return list(Job.objects.filter(delivery=delivery).order_by("id"))


def _once_keys(new: NewDelivery) -> dict[str, str]:
    """Return, by handler, the key of its one job for the event; only handlers that want one job an event have a key."""
    names = [subscription.name for subscription in new.subscriptions if subscription.once_per_event]
    return {name: f"{new.source}:{new.guid}:{name}" for name in names}


def _count_repeat(new: NewDelivery) -> Stored | None:
    same = Delivery.objects.filter(source__name=new.source, hook_id=new.hook_id, guid=new.guid)
    delivery_id = same.values_list("pk", flat=True).first()
    if delivery_id is None:
        return None
    is_pruned = not Payload.objects.filter(pk=delivery_id).exists()
    if is_pruned and not _restore_payload(same, delivery_id, new):
        return None
    # A handler's one job for the event may belong to the delivery of another hook.
    jobs = Job.objects.filter(Q(delivery_id=delivery_id) | Q(once_key__in=_once_keys(new).values()))
    states = list(jobs.values_list("delivery_id", "state"))
    if any(state == JobState.DEAD for _, state in states):
        # GitHub's redelivery button is an operator's way to say "run again", so dead jobs get a new budget.
        transitions.run_again(jobs.filter(state=JobState.DEAD))
    elif not is_pruned:
        engine().commit_without_waiting()  # After a crash of the database, the count may be missing.
    own_count = sum(owner == delivery_id for owner, _ in states)
    # The last statement, since it locks the delivery: with many repeats at once, each holds the lock only to commit.
    if not same.update(repeats=F("repeats") + 1, last_repeat_at=Now()):
        return None
    return Stored(delivery_id, is_duplicate=True, job_count=own_count, to_publish=())


def _restore_payload(same: QuerySet[Delivery], delivery_id: int, new: NewDelivery) -> bool:
    """Store the pruned body again, from the repeat; return False if the delivery itself has been pruned meanwhile."""
    brought = {"headers": dict(new.headers), "body_bytes": len(new.body), "secret_fingerprint": new.secret_fingerprint}
    if not same.update(**brought):  # First, since it locks the row: pruning now skips it.
        return False
    Payload.objects.bulk_create([Payload(delivery_id=delivery_id, body=new.body)], ignore_conflicts=True)
    return True
