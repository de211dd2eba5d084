"""Commits together what arrives together. A commit waits for the disk, and waits no longer for many rows than for one.

A thread takes the deliveries that have arrived while it committed the ones before: with one sender that is one, and
nothing waits for company. What cannot be stored together with others is given back, to be stored by itself.
"""

import asyncio
import logging
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from webhooks.inbox.committer import LONGEST_SECONDS, Committer, InboxUnavailableError
from webhooks.inbox.new_delivery import NewDelivery, Stored
from webhooks.inbox.store import store_together
from webhooks.inbox.stored_log import log_stored
from webhooks.threads import place_of, start_thread

MOST_TOGETHER = 64

Result = Stored | None | InboxUnavailableError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A delivery that waits, and whoever waits for it."""

    new: NewDelivery
    stored: "asyncio.Future[Stored | None]"
    since: float


class GroupCommit:
    """For the coroutines of one event loop. The committer bounds how long a group's transaction takes."""

    def __init__(self, committer: Callable[[], Committer], loop: asyncio.AbstractEventLoop) -> None:
        self._committer = committer
        self._loop = loop
        self._arrived: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        start_thread("group-commit", self._run)

    async def store(self, new: NewDelivery) -> Stored | None:
        """Commit a delivery and its jobs; None if it has to be stored by itself. Raises InboxUnavailableError."""
        waiting = _Waiting(new, self._loop.create_future(), time.monotonic())
        self._arrived.put(waiting)
        return await waiting.stored

    def _run(self) -> None:
        while True:
            group = self._take()
            late = time.monotonic() - LONGEST_SECONDS
            given_up = [waiting for waiting in group if waiting.since < late]  # GitHub does not wait for them any more.
            group = [waiting for waiting in group if waiting.since >= late]
            committed = self._commit(group)
            log_stored(
                [(one.new, result) for one, result in zip(group, committed, strict=True) if isinstance(result, Stored)]
            )
            results = [*committed, *[InboxUnavailableError()] * len(given_up)]
            self._loop.call_soon_threadsafe(_answer, [*group, *given_up], results)

    def _take(self) -> list[_Waiting]:
        """Wait for a delivery, and return it with those that are there besides."""
        group = [self._arrived.get()]
        while len(group) < MOST_TOGETHER and not self._arrived.empty():
            group.append(self._arrived.get_nowait())
        return group

    def _commit(self, group: Sequence[_Waiting]) -> Sequence[Result]:
        if not group:
            return []
        deliveries = [waiting.new for waiting in group]
        size = sum(len(new.body) for new in deliveries)
        try:
            return self._committer().run(partial(store_together, deliveries), stored_bytes=size)
        except InboxUnavailableError as error:
            return [error] * len(group)
        except Exception as error:  # Of a kind that nobody expected. Whose it is shows as each is stored by itself.
            logger.error("group not committed", extra={"deliveries": len(group), "error": place_of(error)})
            return [None] * len(group)


def _answer(group: Sequence[_Waiting], results: Sequence[Result]) -> None:
    for waiting, result in zip(group, results, strict=True):
        if waiting.stored.done():
            continue
        if isinstance(result, InboxUnavailableError):
            waiting.stored.set_exception(result)
        else:
            waiting.stored.set_result(result)
