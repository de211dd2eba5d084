"""Stores a delivery with its jobs, or counts the repeat of a stored one and makes the jobs that it lacks.

No decisions."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

from django.db import Error, IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from webhooks.inbox import database, missing, transitions, turns
from webhooks.inbox.engine import engine
from webhooks.inbox.kept_bodies import kept
from webhooks.inbox.missing import MissingJob
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored
from webhooks.inbox.turns import Keys
from webhooks.models import Delivery, Job, Payload, Source
from webhooks.states import JobState
from webhooks.subscriptions.subscription import Subscription

LOCK_MILLISECONDS = 800
"""So two tries fit into the time for which a delivery waits for its transaction."""
MOST_TRIES = 3


def store(new: NewDelivery) -> Stored:
    """Commit a delivery and its jobs.

    If it is stored already, count the repeat, queue its dead jobs again, and make the jobs of handlers that match now
    and have none: they did not exist then.
    """
    Source.objects.get_or_create(name=new.source)
    for _ in range(MOST_TRIES):
        [stored] = _insert([new])
        if stored is None:
            with transaction.atomic():
                stored = _count_repeat(new)
        if stored is not None:
            return stored
        # The row with the same GUID has been pruned since, so there is room.
    raise IntegrityError("A delivery of the same GUID comes and goes.")


def store_if_new(new: NewDelivery) -> Stored | None:
    """Insert a delivery and its jobs in the caller's transaction; None, and no change, if it is stored already."""
    Source.objects.get_or_create(name=new.source)
    [stored] = _insert([new])
    return stored


def store_together(group: Sequence[NewDelivery]) -> list[Stored | None]:
    """Commit deliveries in one transaction; None for each that `store` has to take: one that is there already, say.

    If the database refuses one of them for what it holds, that is all of them.
    """
    firsts: dict[tuple[str, int, uuid.UUID], NewDelivery] = {}
    for new in group:  # In the order in which they came, which is that of jobs that run one at a time.
        firsts.setdefault(new.key, new)
    try:
        inserted = _insert(list(firsts.values()))
    except Error as error:
        if database.is_outage(error):
            raise
        return [None] * len(group)
    stored = dict(zip(firsts, inserted, strict=True))
    return [stored[new.key] if firsts[new.key] is new else None for new in group]


def _insert(deliveries: Sequence[NewDelivery]) -> list[Stored | None]:
    """Insert deliveries; their jobs with an order key may be claimed only if it is their turn."""
    keys = _keys_of(deliveries)
    # A job's key for the event too: the others insert these in one order, but jobs in turn in that of their arrival.
    once_keys = (new.once_key(one) for new in deliveries for one in new.subscriptions if any(new.keys_of(one)[1:]))
    with turns.held(keys, besides=filter(None, once_keys)) as given:
        inserted = engine().insert(deliveries)
    if not keys.order:
        return inserted
    return [stored and _without_waiting(stored, new, given) for stored, new in zip(inserted, deliveries, strict=True)]


def _keys_of(deliveries: Sequence[NewDelivery]) -> Keys:
    return Keys.of_pairs((keys.order, keys.latest) for new in deliveries for keys in new.keys.values())


def _without_waiting(stored: Stored, new: NewDelivery, given: set[int]) -> Stored:
    """Leave out the jobs that wait for their turn: no message need tell of them."""
    in_turn = {name for name, keys in new.keys.items() if keys.order is not None}
    return replace(
        stored, to_publish=tuple(job for job in stored.to_publish if job.id in given or job.handler not in in_turn)
    )


def try_to_store(source: str, subscriptions: Sequence[Subscription]) -> None:
    """Store an ordinary delivery, roll it back to a savepoint, and commit. Raises the error of the next delivery.

    Since something was written, the commit waits for the disk, and for a standby, as a delivery's does.
    """
    with transaction.atomic():
        # A statement that waits for a lock does not notice that the request has stopped waiting.
        engine().limit_lock_wait(milliseconds=LOCK_MILLISECONDS)
        before = transaction.savepoint()
        try:
            Source.objects.get_or_create(name=source)
            engine().insert([_ordinary(source, subscriptions)])
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


def _count_repeat(new: NewDelivery) -> Stored | None:
    same = Delivery.objects.filter(source__name=new.source, hook_id=new.hook_id, guid=new.guid)
    delivery_id = same.values_list("pk", flat=True).first()
    if delivery_id is None:
        return None
    is_pruned = not Payload.objects.filter(pk=delivery_id).exists()
    if is_pruned and not _restore_payload(same, delivery_id, new):
        return None
    # A handler's one job for the event may belong to the delivery of another hook.
    once_keys = list(filter(None, map(new.once_key, new.subscriptions)))
    turns.lock(_keys_of([new]))  # Before any row, as everywhere.
    jobs = Job.objects.filter(Q(delivery_id=delivery_id) | Q(once_key__in=once_keys))
    rows = list(jobs.values_list("delivery_id", "handler", "state", "once_key"))
    lacking = _lacking(new, delivery_id, rows)
    if any(state == JobState.DEAD for _, _, state, _ in rows):
        # GitHub's redelivery button is an operator's way to say "run again", so dead jobs get a new budget.
        transitions.run_again(jobs.filter(state=JobState.DEAD))
    elif not is_pruned and not lacking:
        engine().commit_without_waiting()  # After a crash of the database, the count may be missing.
    # Late, since it locks the delivery: with many repeats at once, each holds the lock only to commit.
    if not same.update(repeats=F("repeats") + 1, last_repeat_at=Now()):
        return None
    made: list[JobToPublish] = [job for _, job in missing.make(lacking)] if lacking else []
    own_count = sum(owner == delivery_id for owner, *_ in rows) + len(made)
    return Stored(delivery_id, is_duplicate=True, job_count=own_count, to_publish=tuple(made))


def _lacking(new: NewDelivery, delivery_id: int, rows: Sequence[tuple[int, str, str, str | None]]) -> list[MissingJob]:
    """Return the jobs that the stored delivery lacks, of all handlers that the repeat matches."""
    own = {handler for owner, handler, *_ in rows if owner == delivery_id}
    taken = {once_key for *_, once_key in rows}
    lacking = [
        MissingJob(delivery_id=delivery_id, subscription=one, once_key=once_key, keys=new.keys_of(one))
        for one, once_key in ((one, new.once_key(one)) for one in new.subscriptions)
        if one.name not in own and (once_key is None or once_key not in taken)
    ]
    own_delivery = Delivery.objects.filter(missing.has_all_twins(), pk=delivery_id)
    if any(job.once_key for job in lacking) and not own_delivery.exists():
        return [job for job in lacking if job.once_key is None]
    return lacking


def _restore_payload(same: QuerySet[Delivery], delivery_id: int, new: NewDelivery) -> bool:
    """Store the pruned body again, from the repeat; return False if the delivery itself has been pruned meanwhile."""
    brought = {
        "headers": dict(new.headers),
        "body_bytes": len(new.body),
        "secret_fingerprint": new.secret_fingerprint,
        "redacted": new.redacted,
    }
    if not same.update(**brought):  # First, since it locks the row: pruning now skips it.
        return False
    Payload.objects.bulk_create([Payload(delivery_id=delivery_id, body=kept(new.body))], ignore_conflicts=True)
    return True
