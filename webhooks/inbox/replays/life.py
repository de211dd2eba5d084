"""What people do to a replay: ask for one, pause it, continue it, cancel it. Each stands in the audit log."""

from django.db import transaction
from django.db.models.functions import Now

from webhooks.inbox import audit, transitions
from webhooks.inbox.database import skip_locked
from webhooks.inbox.replays import counting
from webhooks.inbox.replays.counting import Counted, Frozen
from webhooks.inbox.replays.scope import Scope
from webhooks.models import Change, Job, Replay, ReplayItem
from webhooks.states import JobState

LOWEST_RATE, HIGHEST_RATE = 0.1, 200.0
USUAL_RATE = 10.0
COUNT_SECONDS = 2.0
"""For how long a page counts. What it has not counted by then the relay counts, before the replay begins."""
ENDED = (Replay.State.CANCELLED, Replay.State.FINISHED)


def ask(
    scope: Scope, *, who: str, reason: str, rate: float = USUAL_RATE, count_seconds: float = COUNT_SECONDS
) -> Replay:
    """Freeze what is in a scope, count it and begin its replay. The relay carries it out."""
    scope.check()
    frozen = counting.freeze(scope)
    counted = counting.count(scope, frozen, seconds=count_seconds)
    return begin(scope, frozen, counted, who=who, reason=reason, rate=rate)


@transaction.atomic
def begin(scope: Scope, frozen: Frozen, counted: Counted, *, who: str, reason: str, rate: float) -> Replay:
    """Begin the replay of what was frozen and counted."""
    change = audit.record("replay", who=who, reason=reason, scope=scope.in_words)
    replay = Replay.objects.create(
        filters=scope.as_json(),
        last_id=frozen.last_id,
        cut_at=frozen.cut_at,
        rate=min(max(rate, LOWEST_RATE), HIGHEST_RATE),
        reason=reason[:500],
        asked_by=who[:150],
        change=change,
    )
    take_count(replay, counted)
    return replay


def take_count(replay: Replay, counted: Counted) -> bool:
    """Note what was counted, unless somebody else has counted on; tell whether it is noted."""
    values = {
        "by_handler": dict(counted.by_handler),
        "without_payload": counted.without_payload,
        "counted_to": counted.reached,
        "total": counted.total if counted.is_complete else None,
    }
    if not Replay.objects.filter(pk=replay.pk, counted_to=replay.counted_to, total=None).update(**values):
        return False
    for name, value in values.items():
        setattr(replay, name, value)
    if counted.is_complete and replay.change is not None:
        Change.objects.filter(pk=replay.change.pk).update(count=counted.total)
    return True


def pause(replay_id: int, *, who: str, reason: str = "") -> bool:
    """Let a replay queue no more jobs; tell whether it was running. Those that it has queued run on."""
    return _set_state(replay_id, "replay_pause", Replay.State.RUNNING, Replay.State.PAUSED, who=who, reason=reason)


def go_on(replay_id: int, *, who: str, reason: str = "") -> bool:
    """Let a paused replay go on; tell whether it was paused."""
    return _set_state(replay_id, "replay_continue", Replay.State.PAUSED, Replay.State.RUNNING, who=who, reason=reason)


@transaction.atomic
def _set_state(
    replay_id: int, action: str, before: Replay.State, after: Replay.State, *, who: str, reason: str
) -> bool:
    if not Replay.objects.filter(pk=replay_id, state=before).update(state=after):
        return False
    audit.record(action, who=who, reason=reason, scope=f"replay {replay_id}")
    return True


@transaction.atomic
def cancel(replay_id: int, *, who: str, reason: str = "") -> int | None:
    """End a replay before its end; return how many jobs were put back as they were, or None if it had ended.

    A job that it has queued and that has not begun is as it was before; one that it has made is given up. What runs
    goes on.
    """
    replay = locked(replay_id)
    if replay is None or replay.state in ENDED:
        return None
    items = ReplayItem.objects.filter(replay=replay, is_open=True)
    put_back: list[int] = []
    for state in set(items.values_list("was", flat=True)):
        own = Job.objects.filter(pk__in=items.filter(was=state).values("job"))
        put_back += transitions.take_back(own, state=JobState(state or JobState.SKIPPED))
    items.filter(job__in=put_back).delete()
    replay.state, replay.ended_by = Replay.State.CANCELLED, who[:150]
    replay.released -= len(put_back)
    replay.save(update_fields=["state", "ended_by", "released"])
    Replay.objects.filter(pk=replay_id).update(finished_at=Now())
    audit.record("replay_cancel", who=who, reason=reason, scope=f"replay {replay_id}", jobs=put_back)
    return len(put_back)


def locked(replay_id: int, *, is_waiting: bool = True) -> Replay | None:
    """Return a replay with its row locked; None if there is none, or if another has it and it is not waited for."""
    rows = Replay.objects.filter(pk=replay_id)
    return (rows.select_for_update(of=("self",)) if is_waiting else skip_locked(rows)).first()
