"""The dispatcher's main loop: reads what children and parent say, asks the inbox, and hands out jobs.

It never forks, so it may have threads: one speaks to the inbox (exchange.py), others serve the probes.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial

from django.conf import settings
from prometheus_client import CollectorRegistry

from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.committer import Committer
from webhooks.inbox.destinations import known
from webhooks.probe_server import ProbeServer
from webhooks.replay_queues import live_queue
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Subscription
from workers.dispatcher.desk import AHEAD_SECONDS, IDLE_SECONDS_WITH_WORD, Desk
from workers.dispatcher.doubts import Doubts
from workers.dispatcher.ended_children import EndedChildren
from workers.dispatcher.event_sender import EventSender
from workers.dispatcher.events import JobEvents
from workers.dispatcher.exchange import Answer, Exchange, Request
from workers.dispatcher.queues import POLL_SECONDS, Queues
from workers.dispatcher.reports import Reports
from workers.dispatcher.rounds import Rounds
from workers.dispatcher.self_report import SelfReport
from workers.probes.process import serve_probes
from workers.probes.vital_signs import SharedSigns
from workers.runs import channels
from workers.runs.channels import Pair
from workers.runs.messages import Answered, ChildEnded, Declined, Entered, Give, Heard, Hello, Leave, RunEnded
from workers.runs.slots import Slots
from workers.runs.stacks import Stacks
from workers.stopping.flag import is_stopping

GATHER_SECONDS = 0.004
"""How long outcomes gather between two exchanges while no child waits for a job."""
RECORD_SECONDS = 0.02
"""How long outcomes wait for company where no job is asked for: most of them go along with the next claim."""
LOOK_SECONDS = 0.5
"""How often it looks around though nothing has happened."""
LAST_SECONDS = 2.5
"""How long it tries to record the last outcomes, after its parent has ended or said that it ends."""
LAST_EVENTS_SECONDS = 0.25
"""How long it then waits for a broker that takes the last events."""
LAST_REPORT_SECONDS = 0.25
"""How long it then waits until the inbox has the worker's last report of itself."""
FAILED_SECONDS = 1.0
"""Pause after an exchange that has failed."""


class Dispatcher:
    """Serves one worker until its parent ends, and what has run until then is recorded."""

    def __init__(
        self,
        *,
        worker: str,
        slots: Slots,
        pairs: Sequence[Pair],
        control: socket.socket,
        queues: Queues,
        leases: Callable[[], Mapping[str, float]],
        reports: Reports,
        beat: Callable[[], None],
        is_first: bool,
    ) -> None:
        self._worker, self._slots, self._pairs, self._control = worker, slots, pairs, control
        self._queues, self._leases, self._reports, self._beat = queues, leases, reports, beat
        self._api_handlers = cache(installed_subscriptions().that_use_the_api)
        self._desk = Desk(len(pairs))
        self._rounds = Rounds(lambda: installed_subscriptions().fair_queues)
        self._ended_children = EndedChildren(len(pairs), is_stopping=is_stopping)
        self._selector = selectors.DefaultSelector()
        for number, pair in enumerate(pairs):
            self._selector.register(pair.dispatcher, selectors.EVENT_READ, partial(self._hear_child, number))
        self._selector.register(control, selectors.EVENT_READ, self._hear_parent)
        awakened, self._awakening = os.pipe()
        for end in (awakened, self._awakening):
            os.set_blocking(end, False)
        self._selector.register(awakened, selectors.EVENT_READ, partial(os.read, awakened, 4096))
        self._exchange = Exchange(worker=worker, answered=self._wake)
        self._is_asking = False
        self._ask_at = self._failed_until = 0.0
        self._given_back: list[ClaimedJob] = []
        self._doubts = Doubts(slots)
        self._ends_of_children: dict[tuple[int, int], ChildEnded] = {}
        """By place and process: what the parent has said, and nothing has followed from yet."""
        self._is_ending, self._ends_at = False, 0.0
        signal.signal(signal.SIGTERM, self._end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # `step.py` blocks it until there is this handler.
        if not is_first:
            self._find_out()

    def run(self) -> None:
        """Work until the parent ends, and what has ended until then is recorded."""
        while not (self._is_ending and self._may_end(time.monotonic())):
            self._beat()
            self.go_on(self._seconds_until_next(time.monotonic()))

    def go_on(self, wait_seconds: float) -> None:
        """Wait until somebody speaks, but no longer than this; hear what is said, and do what follows."""
        self._hear(wait_seconds)
        if self._ends_gather():
            time.sleep(GATHER_SECONDS)
            self._hear(0.0)
        now = time.monotonic()
        self._step(now)
        self._reports.look(self._slots, now=now)

    def _hear(self, wait_seconds: float) -> None:
        for key, _ in self._selector.select(wait_seconds):
            key.data()

    def _ends_gather(self) -> bool:
        """Tell whether more may be waited for, since no child waits for a job."""
        return bool(self._desk.ended) and not self._desk.idle(now=time.monotonic())

    def _end(self, *_signal: object) -> None:
        self._is_ending = True
        self._ends_at = time.monotonic() + LAST_SECONDS
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # It has enough to read.
            os.write(self._awakening, b"\0")

    def _find_out(self) -> None:
        """Learn from the children's sockets and slots what the dispatcher before this one had claimed and given."""
        now = time.monotonic()
        for number, pair in enumerate(self._pairs):
            while (message := channels.take(pair.child)) is not None:
                if isinstance(message, Give):
                    self._desk.claimed([message.job], now=now)
            if self._slots.is_in_turn(number):
                channels.send(pair.dispatcher, Hello())
                self._doubts.wait_for(number)

    # --- What is said to it ---------------------------------------------------------------------------------------

    def _hear_child(self, number: int) -> None:
        while (message := channels.take(self._pairs[number].dispatcher)) is not None:
            now = time.monotonic()
            if isinstance(message, Entered):
                self._forget_child_before(number, message.pid, now)
                self._desk.entered(number, message, now=now)
                self._doubts.heard(number)
                self._hear_of_work(message.queue, now)
            elif isinstance(message, RunEnded):
                self._desk.run_ended(number, message, now=now)
            elif isinstance(message, Declined):
                self._desk.given_back(number, message.job, now=now)

    def _forget_child_before(self, number: int, pid: int, now: float) -> None:
        """Learn that another child was in this place and has ended, if so: the parent has said it before the fork."""
        before = self._desk.places[number].pid
        if before in (0, pid):
            return
        self._read_parent()
        if child := self._ends_of_children.pop((number, before), None):
            self._lose_child(child, now)
        else:
            # There was no room for what the parent had to say. The first may have begun: its lease will end.
            self._desk.claimed(self._desk.child_ended(number, before)[1:], now=now)

    def _hear_parent(self) -> None:
        self._read_parent()
        for place, pid in list(self._ends_of_children):
            self._hear_child(place)  # It may have said more before its end, and its successor after that.
            if child := self._ends_of_children.pop((place, pid), None):
                self._lose_child(child, time.monotonic())

    def _read_parent(self) -> None:
        while (message := channels.take(self._control)) is not None:
            if isinstance(message, ChildEnded):
                self._ends_of_children[message.place, message.pid] = message
            elif isinstance(message, Heard):
                self._hear_message(message, time.monotonic())

    def _hear_message(self, message: Heard, now: float) -> None:
        """Take a message of the broker if a child waits that the others leave a job to; else it begins a turn."""
        self._desk.idle_seconds = IDLE_SECONDS_WITH_WORD
        is_taken = not is_stopping() and self._desk.takes_message(now=now)
        self._hear_of_work(message.queue, now)
        # If a parent that stands still leaves no room for it, the message begins a turn.
        with suppress(BlockingIOError):
            channels.send(self._control, Answered(message.number, is_taken))

    def _hear_of_work(self, queue: str, now: float) -> None:
        self._queues.hear(queue)
        if now >= self._failed_until:
            self._ask_at = now

    def _lose_child(self, child: ChildEnded, now: float) -> None:
        """Record the run that the child's end has cut off, and take back what it had not begun."""
        number, pair = child.place, self._pairs[child.place]
        self._doubts.heard(number)
        unread = list(iter(lambda: channels.take(pair.child), None))
        for message in unread:  # All that was given is known here. What is for the next child in this place stays.
            if not (isinstance(message, (Give, Leave)) and message.pid == child.pid):
                channels.send(pair.dispatcher, message)
        cut_off = (child.running.job_id, child.running.attempt) if child.running else None
        not_begun = [job for job in self._desk.child_ended(number, child.pid) if (job.pk, job.attempt) != cut_off]
        self._desk.claimed(not_begun, now=now)
        self._ended_children.add(child, now=now)

    # --- What it does ---------------------------------------------------------------------------------------------

    def _step(self, now: float) -> None:
        while not self._exchange.answers.empty():
            self._take_answer(self._exchange.answers.get(), now)
        self._serve_the_idle(now)
        self._give(now)
        if is_stopping() or self._is_ending:
            self._take_all_back(now)
        for number in self._desk.late(now=now):
            while self._take_back(number, now):
                pass
        self._given_back += self._desk.overdue(now=now)
        if not self._is_asking and now >= self._ask_at:
            self._ask(now)
        # Last: no child leaves while a queue is still to be asked.
        for number in self._desk.leaves(now=now, is_stopping=is_stopping()):
            channels.send(self._pairs[number].dispatcher, Leave(self._desk.places[number].pid))

    def _serve_the_idle(self, now: float) -> None:
        """Take a job that waits behind a running one, for a child that has none."""
        while (number := self._desk.take_back(now=now)) is not None:
            if not self._take_back(number, now):
                return  # The child has just read it.
            self._give(now)

    def _give(self, now: float) -> None:
        for number, job in self._desk.gives(now=now):
            place = self._desk.places[number]
            give = Give(job, place.recorded, place.pid, place.claimed_at + AHEAD_SECONDS)
            channels.send(self._pairs[number].dispatcher, give)

    def _take_back(self, number: int, now: float) -> bool:
        """Take back a job that a child has not read yet; tell if there was one."""
        pair = self._pairs[number]
        message = channels.take(pair.child)
        if isinstance(message, Give):
            self._desk.given_back(number, message.job, now=now)
            return True
        if message is not None:
            channels.send(pair.dispatcher, message)  # It is for the child.
        return False

    def _take_all_back(self, now: float) -> None:
        """In a stop, no further job begins: give back all claims whose runs have not."""
        for number, place in enumerate(self._desk.places):
            while place.given and self._take_back(number, now):
                pass
        self._given_back += [held.job for held in self._desk.ready]
        self._desk.ready.clear()

    def _ask(self, now: float) -> None:
        """Hand the inbox what there is for it, and ask it for what is wanted."""
        known = self._doubts.known_to_children(now=now)
        if known is not None:
            known |= self._desk.known() | self._ended_children.known()
        ended, self._desk.ended = self._desk.ended, []
        said = {(run.job.pk, run.job.attempt) for run in ended}
        cut_off = self._ended_children.take_decided(now=now, at_once=self._is_ending)
        given_back, self._given_back = self._given_back, []
        request = Request(
            ended=ended,
            # A child may end when it has said how its run ended, and before its slot says so.
            cut_off=[run for run in cut_off if (run.job_id, run.attempt) not in said],
            wanted=self._wanted(now),
            given_back=given_back,
            begins=self._desk.begins(now=now),
            known=known,
        )
        if request.is_empty:
            self._ask_at = now + POLL_SECONDS
            return
        if request.only_records and not (is_stopping() or self._is_ending):
            self._ask_at = ended[0].message.ended_at + RECORD_SECONDS
            if now < self._ask_at:
                self._desk.ended = ended
                return
        if known is not None:
            self._doubts.compared(now=now)
        self._is_asking = True
        if request.wanted is not None:
            self._desk.asked(now=now)
        self._exchange.ask(request)

    def _wanted(self, now: float) -> Wanted | None:
        """Return which jobs to ask for: of the next queue that does not count as empty; after all of them, replayed."""
        limit = 0 if is_stopping() or self._is_ending else self._desk.wanted(now=now)
        queue = self._queues.next(now=now) if limit else None
        if limit and queue is None and (limit := self._desk.wanted_of_replays(now=now)):
            queue = self._queues.next_replay()
        if queue is None:
            return None
        return Wanted(
            worker=self._worker,
            leases=self._leases(),
            limit=limit,
            queue=queue,
            after=self._rounds.after(queue),
            api_handlers=self._api_handlers(live_queue(queue)),
        )

    def _take_answer(self, answer: Answer, now: float) -> None:
        self._is_asking = self._desk.is_claiming = False
        self._reports.answered(answer)
        request = answer.request
        if answer.is_in_doubt:
            self._doubts.arise(now=now)
        if answer.has_failed:
            self._desk.ended = [*request.ended, *self._desk.ended]
            self._ended_children.put_back(request.cut_off)
            self._given_back += request.given_back
            self._desk.not_noted(request.begins)
            self._ask_at = self._failed_until = now + FAILED_SECONDS
            return
        for run in request.ended:
            self._desk.recorded(run)
        self._desk.noted(request.begins, answer.begun)
        self._desk.claimed(answer.claimed, now=now)
        if (wanted := request.wanted) and wanted.queue:
            self._queues.answered(wanted.queue, claimed=len(answer.claimed), wanted=wanted.limit, now=now)
            self._rounds.claimed(wanted, answer.claimed)
        for run in request.ended:
            if run.job.order_key is not None:  # It may be another job's turn now, and no message tells of that.
                self._queues.hear(run.job.queue)
        self._ask_at = now if self._desk.idle(now=now) else now + GATHER_SECONDS

    def _seconds_until_next(self, now: float) -> float:
        """Return how long there is nothing to do unless somebody speaks."""
        if self._is_asking:
            return LOOK_SECONDS
        moments = [now + LOOK_SECONDS, *self._desk.next_moments(now=now)]
        if self._desk.ended:
            moments.append(self._ask_at)
        if self._desk.wanted(now=now):
            moments.append(max(self._ask_at, self._queues.next_moment()))
        return max(0.0, min(moments) - now)

    def _may_end(self, now: float) -> bool:
        """Tell whether all is recorded that can be. The leases of runs that outlive the parent will end."""
        has_nothing = not (self._is_asking or self._given_back or self._desk.ended or self._desk.ready)
        return now >= self._ends_at or (has_nothing and self._ended_children.is_empty())


class Leases:
    """How long this worker owns a job of each handler, in seconds. Destinations come and go."""

    def __init__(self) -> None:
        self._of: tuple[Subscription, ...] | None = None
        self._leases: dict[str, float] = {}

    def __call__(self) -> Mapping[str, float]:
        subscriptions = installed_subscriptions().all
        if subscriptions is not self._of:  # Asked at each claim, and changed seldom.
            margin = settings.HOOKLINE_LEASE_MARGIN_SECONDS + AHEAD_SECONDS
            self._leases = {one.name: one.time_limit + margin for one in subscriptions}
            self._of = subscriptions
        return self._leases


def serve(
    *,
    worker: str,
    slots: Slots,
    stacks: Stacks,
    pairs: Sequence[Pair],
    control: socket.socket,
    signs: SharedSigns,
    beat: Callable[[], None],
    server: ProbeServer | None,
    started_at_seconds: float,
    is_first: bool,
) -> None:
    """Be the dispatcher, until the parent has ended."""
    parent = os.getppid()
    registry = CollectorRegistry()
    sender = EventSender(registry) if settings.HOOKLINE_JOB_EVENTS else None
    reports = Reports(registry, JobEvents(worker, sender.put) if sender else None)
    committer = Committer(threads=1)  # For what may wait: not for jobs.
    self_report = SelfReport(
        worker=worker, pid=parent, slots=slots, stacks=stacks, signs=signs, started_at_seconds=started_at_seconds,
        committer=committer,
    )  # fmt: skip
    self_report.start()
    if server is not None:
        serve_probes(server, signs, registry, slots=slots, started_at_seconds=started_at_seconds, committer=committer)
    known.start_watching(committer.run)
    Dispatcher(
        worker=worker,
        slots=slots,
        pairs=pairs,
        control=control,
        queues=Queues(lambda: getattr(signs.read(), "queues", ())),
        leases=Leases(),
        reports=reports,
        beat=beat,
        is_first=is_first,
    ).run()
    if sender:
        sender.close(seconds=LAST_EVENTS_SECONDS)
    self_report.end(LAST_REPORT_SECONDS)
