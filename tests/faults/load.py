"""A steady load of signed deliveries, and what became of each.

It is an open loop: delivery n is sent at its time, whatever became of those before it. Everything about a delivery is
drawn from the seed.
"""

import json
import queue
import random
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import urllib3

from webhooks.github.sender import Message

HOOK_ID = 7
SENDERS = 48
PATIENCE_SECONDS = 10.0
"""GitHub gives up on an answer after this. https://docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks"""
SECONDS_OF_WORK = (0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.3)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of delivery: its event, its action, and the handlers that must have run for it."""

    event: str
    action: str
    handlers: tuple[str, ...]
    is_poison: bool = False


BUILD = Kind("workflow_run", "completed", ("team.build",))
ISSUE = Kind("issues", "opened", ("team.label", "team.greet"))
RELEASE = Kind("release", "published", ("team.announce",))
DEPLOYMENT = Kind("deployment", "created", ("team.deploy",))
LONG_CHECK = Kind("check_run", "created", ("team.check_for_long",))
HOLD = Kind("check_suite", "requested", ("team.hold_the_child",))
BEHIND = Kind("check_suite", "completed", ("team.wait_behind",))
UNSTORABLE_DELIVERY = Kind("workflow_run", "unstorable", ("team.build",))


def poison(action: str, handler: str) -> Kind:
    return Kind("repository_dispatch", action, (f"team.{handler}",), is_poison=True)


EXIT = poison("exit", "exit_at_once")
MEMORY_ERROR = poison("memory", "raise_memory_error")
HOARD = poison("hoard", "hoard")
HANG = poison("hang", "hang_in_python")
DEAF = poison("deaf", "hang_in_c")
SWALLOW = poison("swallow", "swallow_the_soft_limit")
UNSTORABLE_OUTCOME = poison("unstorable", "return_the_unstorable")

Mix = Mapping[Kind, float]
ORDINARY: Mix = {BUILD: 75, ISSUE: 10, RELEASE: 10, DEPLOYMENT: 5}


def with_poison(kind: Kind, *, percent: float) -> Mix:
    whole = sum(ORDINARY.values())
    return {**ORDINARY, kind: whole * percent / (100 - percent)}


@dataclass(slots=True)
class Sent:
    """One delivery: `status` is 0 while there is no answer, and stays so if none came."""

    guid: str
    kind: Kind
    status: int = 0
    milliseconds: float = 0.0
    is_concluded: bool = False
    sent_at: float = 0.0
    """By the clock of this machine, in epoch seconds."""

    @property
    def is_acknowledged(self) -> bool:
        return 200 <= self.status < 300


class Load:
    """Sends from `start` to `stop`, `rate` deliveries a second; no more than `most`."""

    def __init__(
        self, url: str, secret: str, *, rate: float, mix: Mix = ORDINARY, seed: int = 0, most: int | None = None
    ) -> None:
        self.sent: list[Sent] = []
        self.rate = rate
        self._most = most
        self._url = url
        self._secret = secret
        self._mix = mix
        self._draw, self._guids = random.Random(seed), random.Random(-1 - seed)
        self._due: queue.SimpleQueue[tuple[Sent, Message] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._pool = urllib3.PoolManager(
            maxsize=SENDERS, timeout=urllib3.Timeout(total=PATIENCE_SECONDS), retries=False
        )
        self._clock = threading.Thread(target=self._tick, name="load", daemon=True)
        self._senders = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]

    def start(self) -> None:
        for thread in (self._clock, *self._senders):
            thread.start()

    def stop(self) -> None:
        """Send nothing more, and wait for the answers that are under way."""
        self._stopping.set()
        self._clock.join()
        for _ in self._senders:
            self._due.put(None)
        for thread in self._senders:
            thread.join()
        self._pool.clear()

    def burst(self, count: int, kind: Kind, **payload: Any) -> list[Sent]:
        """Have so many more deliveries of a kind sent at once, beside the load, and return them."""
        drawn = [self._make(kind, **payload) for _ in range(count)]
        for one in drawn:
            self._due.put(one)
        return [sent for sent, _ in drawn]

    def repeat(self, count: int, kind: Kind) -> list[Sent]:
        """Send one delivery so many times at once, each on a connection of its own; return every sending."""
        first, message = self._make(kind, seconds=0.1)
        again = [Sent(first.guid, kind) for _ in range(count - 1)]
        self.sent += again
        self._post_together([(one, message) for one in (first, *again)])
        return [first, *again]

    def send_together(self, count: int, kind: Kind, **payload: Any) -> list[Sent]:
        """Send so many different deliveries at once, each on a connection of its own, and wait for their answers."""
        made = [self._make(kind, **payload) for _ in range(count)]
        self._post_together(made)
        return [sent for sent, _ in made]

    def _post_together(self, made: Sequence[tuple[Sent, Message]]) -> None:
        together = threading.Barrier(len(made))

        def post(sent: Sent, message: Message) -> None:
            together.wait()
            self._post(sent, message)

        threads = [threading.Thread(target=post, args=one) for one in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _tick(self) -> None:
        began = time.monotonic()
        for number in count():
            if self._stopping.is_set() or number == self._most:
                return
            kind = self._draw.choices(list(self._mix), list(self._mix.values()))[0]
            drawn = self._make(kind, seconds=self._draw.choice(SECONDS_OF_WORK))
            self._stopping.wait(max(0.0, began + number / self.rate - time.monotonic()))
            self._due.put(drawn)

    def _make(self, kind: Kind, **payload: Any) -> tuple[Sent, Message]:
        sent = Sent(str(uuid.UUID(int=self._guids.getrandbits(128))), kind)
        body = json.dumps({"action": kind.action, "number": len(self.sent), **payload}).encode()
        self.sent.append(sent)
        return sent, Message.signed(kind.event, body, secret=self._secret)

    def _send(self) -> None:
        while (due := self._due.get()) is not None:
            self._post(*due)

    def _post(self, sent: Sent, message: Message) -> None:
        began, sent.sent_at = time.perf_counter(), time.time()
        try:
            headers = message.headers(hook_id=HOOK_ID, guid=sent.guid)
            response = self._pool.request("POST", self._url, body=message.body, headers=headers, redirect=False)
            sent.status = response.status
        except urllib3.exceptions.HTTPError:
            sent.status = 0
        sent.milliseconds = (time.perf_counter() - began) * 1000
        sent.is_concluded = True
