"""Where the round among the parties of each queue that is shared fairly goes on: after the party that was served last.

Each worker has a round of its own, which begins anywhere: so many workers together serve parties at random.
"""

import secrets
from collections.abc import Callable, Collection, Sequence

from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.replay_queues import live_queue


class Rounds:
    """The last party that was served of each queue. `fair_queues` returns those that are shared fairly by now."""

    def __init__(self, fair_queues: Callable[[], Collection[str]]) -> None:
        self._fair_queues = fair_queues
        self._served: dict[str, str] = {}

    def after(self, queue: str) -> str | None:
        """Return the party after which the next round of a queue begins; None if the queue is not shared fairly."""
        if live_queue(queue) not in self._fair_queues():
            return None
        return self._served.setdefault(queue, _anywhere())

    def claimed(self, wanted: Wanted, jobs: Sequence[ClaimedJob]) -> None:
        """Note which jobs came of those that were wanted, in the order of the round."""
        if wanted.after is None or wanted.queue is None:
            return
        served = [job.fair_key for job in jobs if job.fair_key is not None]
        # A claim that finds fewer jobs may have looked at many parties that have none that is due: look elsewhere.
        self._served[wanted.queue] = served[-1] if served and len(jobs) == wanted.limit else _anywhere()


def _anywhere() -> str:
    """Return a text before which each party comes with the same probability: see `keys.fair_key`."""
    return secrets.token_hex(3)
