"""Finds the *strays*: waiting jobs that nothing will run, since their handler has moved to another queue, or is gone.

This needs neither the broker nor room in a queue's window, so it also works while nothing can be published. The jobs
that are due in a queue are read in slices, one slice each step, and from the beginning again after the last slice: a
million waiting jobs are not read at once, and a stray after them is still found.
"""

import logging
import time
from collections.abc import Sequence

from webhooks.destination_handlers import destination_of
from webhooks.inbox import due, pauses, transitions
from webhooks.inbox.destinations import known
from webhooks.inbox.due import Place
from webhooks.publishing.health import RelayHealth
from webhooks.replay_queues import is_replay_queue, live_queue, replay_queue
from webhooks.subscriptions.subscription import Subscriptions

SLICE = 5_000
BATCH = 500
HANDLER_GONE_SECONDS = 900.0
"""How long a relay keeps jobs whose handler it does not know: in a rollout, an old relay does not know new handlers."""

logger = logging.getLogger(__name__)


class Strays:
    """Finds the strays, and moves or ends them."""

    def __init__(
        self, subscriptions: Subscriptions, *, health: RelayHealth, gone_seconds: float = HANDLER_GONE_SECONDS
    ) -> None:
        self._subscriptions = subscriptions
        self._health = health
        self._gone_seconds = gone_seconds
        self._missed: dict[str, float] = {}
        self._places: dict[str, Place] = {}

    def step(self) -> bool:
        """Read the next slice of each queue, and move or end its strays; tell whether there are further slices.

        Raises Django's database errors.
        """
        for queue in due.waiting_queues():
            place = self._places.pop(queue, None)
            own = [each.name for each in self._subscriptions if each.queue == live_queue(queue)]
            strays = due.strays_after(place, queue, own=own, limit=SLICE)
            if live_queue(queue) in self._subscriptions.fair_queues:
                due.give_party(place, queue, limit=SLICE)
            end = due.place_after(place, queue, jobs=SLICE)
            for start in range(0, len(strays), BATCH):
                self._settle(strays[start : start + BATCH], is_replay=is_replay_queue(queue))
            if end is not None:
                self._places[queue] = end
        return bool(self._places)

    def _settle(self, strays: Sequence[tuple[int, str]], *, is_replay: bool) -> None:
        """Move or end these strays. One from a replay queue goes to another replay queue."""
        moving: dict[str, list[int]] = {}
        unknown: dict[str, list[int]] = {}
        for job_id, handler in strays:
            subscription = self._subscriptions.get(handler)
            if subscription is None:
                unknown.setdefault(handler, []).append(job_id)
            else:
                queue = replay_queue(subscription.queue) if is_replay else subscription.queue
                moving.setdefault(queue, []).append(job_id)
        for queue, ids in moving.items():
            self._move(ids, queue)
        held = pauses.paused().handlers if unknown else ()
        for handler, ids in unknown.items():
            if handler not in held:  # Paused jobs wait, whatever is installed meanwhile.
                self._end_if_gone(ids, handler)

    def _move(self, job_ids: Sequence[int], queue: str) -> None:
        moved = due.move(job_ids, queue=queue)
        if not moved:  # Another relay holds them.
            return
        self._health.moved(moved)
        logger.info("jobs moved to their handler's queue", extra={"queue": queue, "count": moved})

    def _end_if_gone(self, job_ids: Sequence[int], handler: str) -> None:
        if name := destination_of(handler):
            if known.is_deleted(handler):
                self._end(job_ids, handler, reason=f"The destination {name} was deleted.")
            return
        first_missed = self._missed.setdefault(handler, time.monotonic())
        if time.monotonic() - first_missed < self._gone_seconds:
            return
        self._end(job_ids, handler, reason=f"No installed app has a handler named {handler}.")

    def _end(self, job_ids: Sequence[int], handler: str, *, reason: str) -> None:
        ended = transitions.end_without_run(job_ids, reason=reason)
        if not ended:
            return
        self._health.buried(ended)
        logger.warning("jobs ended since their handler is gone", extra={"handler": handler, "count": ended})
