"""How far a replay has come: what the console and `manage.py replay` say of it."""

from dataclasses import dataclass
from datetime import timedelta

from webhooks.durations import rough
from webhooks.inbox.replays.life import ENDED
from webhooks.inbox.replays.running import MOST_OPEN
from webhooks.inbox.replays.scope import Scope
from webhooks.models import Replay, ReplayItem


@dataclass(frozen=True, slots=True)
class Progress:
    """A replay with its figures."""

    row: Replay
    scope: Scope
    open: int
    """How many of its jobs wait, run, or are retried."""

    @property
    def counted(self) -> int:
        """How many jobs are counted so far."""
        return sum(self.row.by_handler.values()) if self.row.total is None else self.row.total

    @property
    def ended(self) -> int:
        return self.row.done + self.row.failed + self.row.skipped

    @property
    def percent(self) -> int:
        """How much has ended, rounded down: 100 is all of it."""
        if self.row.total is None:
            return 0
        return 100 if self.row.total <= self.ended else 100 * self.ended // self.row.total

    @property
    def left(self) -> int:
        """How many jobs have not been queued, and if it has ended, never were by it."""
        return max(0, self.counted - self.row.released - (self.row.skipped if self.has_ended else 0))

    @property
    def has_ended(self) -> bool:
        return self.row.state in ENDED

    @property
    def sentence(self) -> str:
        """Return what it does now, or why it does not go on."""
        if self.row.state == Replay.State.PAUSED:
            return "Paused. It queues no more jobs; those that it has queued run on."
        if self.has_ended:
            still = f" {self.open:,} of its jobs have begun or been retried, and go on." if self.open else ""
            return (f"Cancelled by {self.row.ended_by}." if self.row.ended_by else "Finished.") + still
        if self.row.total is None:
            return f"Counting: {self.counted:,} jobs so far. It begins once the exact number is known."
        if self.row.has_reached_end:
            return f"All of it is queued; {self.open:,} jobs have not ended."
        if self.open >= MOST_OPEN:
            return f"{self.open:,} of its jobs wait, run or are retried; the next follow as they end."
        seconds = timedelta(seconds=self.left / self.row.rate)
        return f"Queues up to {self.row.rate:g} jobs a second: the rest takes {rough(seconds)} or longer."


def progress_of(replay: Replay) -> Progress:
    """Read how far a replay has come."""
    still_open = ReplayItem.objects.filter(replay=replay, is_open=True).count() if replay.is_active else 0
    return Progress(replay, Scope.from_json(replay.filters), still_open)
