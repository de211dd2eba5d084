"""Decides when messages are repeated for jobs that still wait. Values in, values out.

A message that was taken may lead to nothing: its worker does not reach the inbox, or has an older release, which does
not know the handler. If of all jobs that were published for none has been claimed, the next messages are not sent after
a second but after two, four, and then every five: a worker that can do nothing is not kept busy with messages. The
broker may also have lost them, so they are repeated for as long as the jobs wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from webhooks.inbox.due import REPEATED_SECONDS, DueJob

FIRST_SECONDS = 1.0


@dataclass(slots=True)
class _Last:
    """The jobs of a queue that waited when messages were last published for it."""

    jobs: Sequence[DueJob]
    pause: float
    again_at: float


class Repeats:
    """`now` is always the machine's monotonic clock; jobs come in the order in which they are due, the first of all."""

    def __init__(self) -> None:
        self._last: dict[str, _Last] = {}

    def wanted(self, queue: str, jobs: Sequence[DueJob], *, now: float) -> Sequence[DueJob]:
        """Return those of the waiting jobs that messages are to be published for."""
        last = self._last.get(queue)
        is_too_soon = last is not None and now < last.again_at and _none_was_claimed(last.jobs, jobs)
        return jobs[len(last.jobs) :] if last and is_too_soon else jobs

    def published(self, queue: str, jobs: Sequence[DueJob], *, now: float) -> None:
        """Note that messages were published for what was wanted of the waiting jobs."""
        last = self._last.get(queue)
        if last is None or not _none_was_claimed(last.jobs, jobs):
            self._last[queue] = _Last(jobs, FIRST_SECONDS, now + FIRST_SECONDS)
        else:
            if now >= last.again_at:
                last.pause = min(2 * last.pause, REPEATED_SECONDS)
                last.again_at = now + last.pause
            last.jobs = jobs

    def forget(self, queue: str) -> None:
        """Forget what was published for a queue in which everything due is paused: once it resumes, messages go at
        once."""
        self._last.pop(queue, None)


def _none_was_claimed(before: Sequence[DueJob], now: Sequence[DueJob]) -> bool:
    both = min(len(before), len(now))
    return list(before[:both]) == list(now[:both])
