"""Who has which job: the dispatcher's knowledge of its children, and what follows from it. Values in, values out.

A child in its turn runs one job at a time. While its runs are short, it has the next ones in its socket, and some more
are claimed ahead for all: as many as end between two claims. So no child waits for a job that is there. A job that
waits behind a long run is taken back as soon as another child is free, and goes back to the inbox where none is. Large
bodies are worked on within a budget: whatever is over it waits, and the others pass it by.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.replay_queues import is_replay_queue
from workers.runs.messages import Entered, RunEnded
from workers.runs.registration import TURN_SECONDS

IDLE_SECONDS = 0.2
"""How long a child stays without a job: the next turn costs more than a short wait."""
IDLE_SECONDS_WITH_WORD = 2.0
"""How long it stays where the dispatcher hears of each message at once: then a wait costs next to nothing."""
AHEAD_SECONDS = 10.0
"""How long a claimed job may wait for its run; its lease is longer by that."""
SHORT_SECONDS = 0.25
"""A handler whose runs take less is short: only behind its runs is another job claimed ahead."""
LATE_SECONDS = 1.0
"""If a job has waited so long for a child, it goes back, so that another worker can run it."""
WAITING_SECONDS = 0.01
"""How long the jobs in a child's socket may take together, as far as there are more than one: so long as it takes to
hear of an end and to hand out the next job, where all children are at work."""
MOST_WAITING = 8
MOST_AHEAD = 256
"""How many jobs are claimed at a time, at most."""
LARGE_BYTES = 64 * 1024 * 1024
"""How much larger bodies may hold that are worked on at a time, by all children together: one alone may hold more."""


@dataclass(slots=True)
class Place:
    """A place in the pool, with the child that is in it."""

    number: int
    pid: int = 0
    entered_at: float | None = None
    """When its turn began; None if it is not in one."""
    idle_since: float = 0.0
    given: list[ClaimedJob] = field(default_factory=list)
    """What it runs, and what it has not read yet."""
    claimed_at: float = 0.0
    """When the job was claimed that it was given last."""
    most: int = 1
    """How many jobs it may have at a time: more than one while its runs are short, as far as is known."""
    unrecorded: set[int] = field(default_factory=set)
    """The numbers of its outcomes that have come here and are not recorded yet."""
    recorded: int = 0
    """The number of its last outcome that is recorded."""
    takes_no_more: bool = False


@dataclass(slots=True, eq=False)
class Held:
    """A claimed job that no child has."""

    job: ClaimedJob
    since: float
    may_begin: bool
    """Whether it can be given to a child; False for a job that was lost before, until its begin is noted."""
    is_asked_for: bool = False


class EndedRun(NamedTuple):
    """A run that is to be recorded: what the child in a place has said of it, and its job without the body."""

    place: int
    job: ClaimedJob
    message: RunEnded


class Desk:
    """Which job is where. `now` is always the machine's monotonic clock."""

    def __init__(self, count: int) -> None:
        self.places = [Place(number) for number in range(count)]
        self.ready: deque[Held] = deque()
        self.ended: list[EndedRun] = []
        """What is to be recorded."""
        self._seconds: dict[str, float] = {}
        """How long runs of each handler take, the last ones counting most."""
        self._ended_since = self._pace = 0
        """How many runs have ended since jobs were last asked for, and between the two times before that."""
        self.is_claiming = False
        """Whether jobs may come that were asked for."""
        self._waited = 0
        """How many children had no job as jobs were last asked for."""
        self._spoken_for = 0
        """How many messages since then count on a child without a job: those that began its turn, and those taken."""
        self.idle_seconds = IDLE_SECONDS

    # --- What happens ---------------------------------------------------------------------------------------------

    def entered(self, number: int, message: Entered, *, now: float) -> None:
        place = self._of(number, message.pid)
        if place.entered_at is None:  # Else it has just answered a second time.
            place.entered_at = place.idle_since = now
            self._spoken_for += 1

    def takes_message(self, *, now: float) -> bool:
        """Note that a message has come, and tell whether a child waits that all others leave a job to."""
        spoken_for = self._spoken_for + (self._waited if self.is_claiming else 0)
        if self.idle(now=now) <= spoken_for:
            return False
        self._spoken_for += 1
        return True

    def run_ended(self, number: int, message: RunEnded, *, now: float) -> None:
        place = self._of(number, message.pid)
        if message.number in place.unrecorded:  # It has said it again, to a new dispatcher that had heard it.
            return
        job = message.job or self._given(place, message)
        if job is None:  # What another dispatcher had given. It will be said again, with the job.
            return
        place.unrecorded.add(message.number)
        self._remove(place, job)
        handler, seconds = job.handler, message.ended_at - message.began_at
        usual = self._seconds.get(handler, seconds)
        self._seconds[handler] = usual + 0.2 * (seconds - usual)
        place.most = self._most(handler)
        self._ended_since += 1
        place.idle_since = now
        place.takes_no_more |= message.is_last
        self.ended.append(EndedRun(number, job, message))

    def recorded(self, run: EndedRun) -> None:
        place, message = self.places[run.place], run.message
        if place.pid == message.pid:
            place.unrecorded.discard(message.number)
            place.recorded = max(place.recorded, message.number)

    def asked(self, *, now: float) -> None:
        """Jobs have been asked for."""
        self.is_claiming = True
        self._waited, self._spoken_for = self.idle(now=now), 0
        self._pace, self._ended_since = max(self._ended_since, self._pace * 3 // 4), 0

    def claimed(self, jobs: Sequence[ClaimedJob], *, now: float) -> None:
        self.ready.extend(Held(job, now, may_begin=not job.lost) for job in jobs)

    def given_back(self, number: int, job: ClaimedJob, *, now: float) -> None:
        """A job that was given has not begun, and will not in this place."""
        place = self.places[number]
        self._remove(place, job)
        self.ready.appendleft(Held(job, min(now, place.claimed_at), may_begin=not job.lost))

    def child_ended(self, number: int, pid: int) -> list[ClaimedJob]:
        """Forget a child; return what it had been given."""
        place = self.places[number]
        if place.pid != pid:
            return []
        self.places[number] = Place(number)
        return place.given

    def _of(self, number: int, pid: int) -> Place:
        """Return a child's place, which is new if another child was there."""
        if self.places[number].pid != pid:
            self.places[number] = Place(number, pid=pid)
        return self.places[number]

    # --- What follows ---------------------------------------------------------------------------------------------

    def wanted(self, *, now: float) -> int:
        """Return how many jobs are to be claimed: for each child that is free or soon will be, and ahead for all.

        Ahead, as many as end until the claim after this one is answered; and none if all runs are long.
        """
        takers = self._takers(now)
        room = sum(max(0, place.most - len(place.given)) for place in takers)
        ahead = 2 * self._pace if any(place.most > 1 for place in takers) else 0
        return min(MOST_AHEAD, max(0, room + ahead - len(self.ready)))

    def wanted_of_replays(self, *, now: float) -> int:
        """Return how many replayed jobs are to be claimed: none ahead, and for half of the places at most.

        So a live job that comes finds a place, unless the worker has but one, or live jobs have taken the others.
        """
        jobs = chain(*(place.given for place in self.places), (held.job for held in self.ready))
        left = max(1, len(self.places) // 2) - sum(is_replay_queue(job.queue) for job in jobs)
        return max(0, min(left, self.idle(now=now) - len(self.ready)))

    def idle(self, *, now: float) -> int:
        """Return how many children in their turn have no job."""
        return sum(not place.given for place in self._takers(now))

    def gives(self, *, now: float) -> Iterator[tuple[int, ClaimedJob]]:
        """Hand out what is ready: first to children that have nothing, then ahead to those that have least."""
        if not self.ready:
            return
        takers = self._takers(now)
        for count in range(1 + MOST_WAITING):
            for place in takers:
                if len(place.given) != count or place.most <= count or not (held := self._next(ahead=count > 0)):
                    continue
                place.given.append(held.job)
                place.claimed_at = held.since
                if not count:
                    place.most = self._most(held.job.handler)
                yield place.number, held.job

    def begins(self, *, now: float) -> list[ClaimedJob]:
        """Return jobs whose begin is to be noted in the inbox before they are given to the children that are free."""
        waiting = [held for held in self.ready if not held.may_begin and not held.is_asked_for]
        free = self.idle(now=now) if waiting else 0
        begins: list[ClaimedJob] = []
        for held in waiting:
            if len(begins) == free:
                break
            # Not one for whose body there is no room: if the worker is lost meanwhile, it must not count as begun.
            if self._has_room_for(held.job, *begins):
                held.is_asked_for = True
                begins.append(held.job)
        return begins

    def noted(self, asked: Sequence[ClaimedJob], begun: Sequence[ClaimedJob]) -> None:
        """Note which of these jobs may be given to a child now; drop the others, which are no longer ours."""
        for held in [held for held in self.ready if held.job in asked]:
            held.may_begin = held.job in begun
            if not held.may_begin:
                self.ready.remove(held)

    def not_noted(self, asked: Sequence[ClaimedJob]) -> None:
        """Note that the begin of these jobs is to be asked for again."""
        for held in self.ready:
            held.is_asked_for &= held.job not in asked

    def take_back(self, *, now: float) -> int | None:
        """Return a place whose waiting job another child could run at once."""
        if self.ready or not self.idle(now=now):
            return None
        waiting = (number for number, place in enumerate(self.places) if len(place.given) > 1)
        return next(waiting, None)

    def late(self, *, now: float) -> list[int]:
        """Return the places where a job has waited too long behind another. Nothing will wait there until that ends."""
        late = now - LATE_SECONDS
        found = [number for number, place in enumerate(self.places) if len(place.given) > 1 and place.claimed_at < late]
        for number in found:
            self.places[number].most = 1
        return found

    def leaves(self, *, now: float, is_stopping: bool) -> Iterator[int]:
        """End the turns that are over, once all their outcomes are recorded."""
        takers = {place.number for place in self._takers(now)}
        for number, place in enumerate(self.places):
            if place.entered_at is None or place.given or place.unrecorded:
                continue
            may_get_one = self.ready or self.is_claiming or self._spoken_for
            is_idle = now - place.idle_since >= self.idle_seconds and not may_get_one
            if is_stopping or is_idle or number not in takers:
                self.places[number] = Place(number, pid=place.pid)
                yield number

    def overdue(self, *, now: float) -> list[ClaimedJob]:
        """Take out the jobs that have waited too long for a child, or for which no child is left."""
        if not self.ready:
            return []
        has_child = any(place.entered_at is not None for place in self.places)
        late = [held for held in self.ready if not has_child or now - held.since > longest_wait(held.job)]
        for held in late:
            self.ready.remove(held)
        return [held.job for held in late]

    def next_moments(self, *, now: float) -> Iterator[float]:
        """Yield when something follows though nothing happens."""
        for place in self.places:
            if place.entered_at is not None and not place.given and not place.unrecorded:
                yield min(place.idle_since + self.idle_seconds, place.entered_at + TURN_SECONDS)

    def known(self) -> set[tuple[int, int]]:
        """Return each claim that is somewhere here, as (job, attempt)."""
        jobs = [held.job for held in self.ready] + [run.job for run in self.ended]
        jobs += [job for place in self.places for job in place.given]
        return {(job.pk, job.attempt) for job in jobs}

    def _takers(self, now: float) -> list[Place]:
        """Return the places whose children take jobs: those in their turn; after it, if jobs would wait for nobody."""
        willing = [place for place in self.places if place.entered_at is not None and not place.takes_no_more]
        in_time = [place for place in willing if now - (place.entered_at or 0.0) < TURN_SECONDS]
        return in_time or (willing if self.ready or self.is_claiming else [])

    def _most(self, handler: str) -> int:
        """Return how many jobs a child may have at a time that runs this handler."""
        seconds = self._seconds.get(handler, SHORT_SECONDS)
        if seconds >= SHORT_SECONDS:
            return 1
        return 1 + max(1, int(WAITING_SECONDS / max(seconds, WAITING_SECONDS / MOST_WAITING)))

    def _next(self, *, ahead: bool) -> Held | None:
        """Take the first job that may begin now; ahead, only one that nothing speaks against."""
        for held in self.ready:
            if not self._has_room_for(held.job):
                continue
            # What was lost before begins where it is given, and at once: see `transitions.begin`.
            if not held.may_begin or (ahead and (large_bytes(held.job) or held.job.lost)):
                continue
            self.ready.remove(held)
            return held
        return None

    @staticmethod
    def _given(place: Place, message: RunEnded) -> ClaimedJob | None:
        claim = message.job_id, message.attempt
        return next((job for job in place.given if (job.pk, job.attempt) == claim), None)

    def _has_room_for(self, job: ClaimedJob, *beside: ClaimedJob) -> bool:
        """Tell whether the budget has room for a job's body beside those that are given, and these."""
        if not (large := large_bytes(job)):
            return True
        given = (one for place in self.places for one in place.given)
        taken = sum(map(large_bytes, chain(given, beside)))
        return not taken or taken + large <= LARGE_BYTES

    @staticmethod
    def _remove(place: Place, job: ClaimedJob) -> None:
        place.given = [one for one in place.given if (one.pk, one.attempt) != (job.pk, job.attempt)]


def longest_wait(job: ClaimedJob) -> float:
    """Return how long a job may wait here: with a large body, for its share of the budget."""
    return AHEAD_SECONDS if large_bytes(job) else LATE_SECONDS


def large_bytes(job: ClaimedJob) -> int:
    """Return how much a job's body counts against the budget: nothing if it has come with the claim."""
    return job.body_bytes if job.body is None else 0
