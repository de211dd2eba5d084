"""Which queue is asked for jobs next, and when one that had none is asked again. `now` is the monotonic clock.

Each queue has a replay queue behind it. That is asked only while no queue itself is to be asked, and only from the time
that a message tells of jobs in it until it has none: without replays it costs nothing.
"""

from collections.abc import Callable, Sequence

from webhooks.replay_queues import is_replay_queue

POLL_SECONDS = 0.02
"""While a child waits and a queue had nothing, the inbox is asked again after so long, and each time after twice as
long, up to LONGEST_POLL_SECONDS: of most new jobs a message tells."""
LONGEST_POLL_SECONDS = 0.5
REFRESH_SECONDS = 0.5
"""How often the parent's word is read on which queues the worker consumes."""


class Queues:
    """The queues that a worker consumes, in turn."""

    def __init__(self, consumed: Callable[[], Sequence[str]]) -> None:
        self._read, self._refresh_at = consumed, 0.0
        self._consumed: Sequence[str] = ()
        self._last = ""
        self._empty_until: dict[str, float] = {}
        """Until when each queue counts as empty."""
        self._waits: dict[str, float] = {}
        """How long each queue counts as empty the next time."""
        self._heard: set[str] = set()
        """Queues of which something was heard since they were last asked."""
        self._replays: dict[str, bool] = {}
        """Replay queues that may have jobs, in the order in which they are asked: whether something was heard since."""

    def hear(self, queue: str) -> None:
        """There is work in this queue."""
        if is_replay_queue(queue):
            self._replays[queue] = True
            return
        self._heard.add(queue)
        self._empty_until.pop(queue, None)
        self._waits.pop(queue, None)

    def next(self, *, now: float) -> str | None:
        """Return the next queue that does not count as empty, which is asked now."""
        if now >= self._refresh_at:
            self._refresh_at, self._consumed = now + REFRESH_SECONDS, self._read()
        # The parent's word may be older than a message that it has let through.
        consumed = sorted({*self._consumed, *self._heard})
        queues = [queue for queue in consumed if self._empty_until.get(queue, 0.0) <= now]
        if not queues:
            return None
        self._last = next((queue for queue in queues if queue > self._last), queues[0])
        self._heard.discard(self._last)
        return self._last

    def next_replay(self) -> str | None:
        """Return the next replay queue that may have jobs, after `next` has found no queue."""
        queue = next(iter(self._replays), None)
        if queue is not None:
            del self._replays[queue]  # To the end of the line.
            self._replays[queue] = False
        return queue

    def answered(self, queue: str, *, claimed: int, wanted: int, now: float) -> None:
        """Note how many jobs came of those that were wanted."""
        if is_replay_queue(queue):
            if claimed < wanted and not self._replays.get(queue, True):  # Nothing was heard while it was asked.
                del self._replays[queue]
            return
        if claimed:
            self._waits.pop(queue, None)
        if claimed < wanted and queue not in self._heard:
            seconds = self._waits.get(queue, POLL_SECONDS)
            self._waits[queue] = min(2 * seconds, LONGEST_POLL_SECONDS)
            self._empty_until[queue] = now + seconds

    def next_moment(self) -> float:
        """Return from when on some queue does not count as empty."""
        return min((self._empty_until.get(queue, 0.0) for queue in self._consumed), default=0.0)
