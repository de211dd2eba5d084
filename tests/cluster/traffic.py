"""Deliveries that come all the time, by way of an ingress that knows the receivers from the cluster, as all do."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise

from urllib3.exceptions import HTTPError

from tests.cluster.installation import Installation

ACCEPTED = 202
FOLLOWS_SECONDS = 0.5
"""How often the ingress looks which receivers there are."""


SENDERS = 8


@dataclass(slots=True)
class Traffic:
    """Deliveries to the receivers, and what came of them so far."""

    installation: Installation
    action: str
    seconds: float
    """How long each job takes."""
    urls: list[str]
    answers: "Counter[int | str]" = field(default_factory=Counter)
    """By status, or by what went wrong with the connection."""
    acknowledged_at: list[float] = field(default_factory=list)

    @property
    def longest_gap_seconds(self) -> float:
        """Return the longest time without an acknowledgement."""
        return max((after - before for before, after in pairwise(sorted(self.acknowledged_at))), default=0.0)

    def follow(self, ends: threading.Event) -> None:
        while not ends.wait(FOLLOWS_SECONDS):
            self.urls = self.installation.endpoints() or self.urls

    def send(self, ends: threading.Event, every_seconds: float) -> None:
        due = time.monotonic()
        for turn in count():
            if ends.wait(max(0.0, due - time.monotonic())):
                return
            urls = self.urls
            self._send_one(urls[turn % len(urls)])
            due += every_seconds

    def _send_one(self, url: str) -> None:
        try:
            status = self.installation.send(url, self.action, seconds=self.seconds)
        except HTTPError as error:
            self.answers[type(error).__name__] += 1
            return
        self.answers[status] += 1
        if status == ACCEPTED:
            self.acknowledged_at.append(time.monotonic())


@contextmanager
def steady_traffic(
    installation: Installation, *, a_second: float, action: str = "work", seconds: float = 1.0
) -> Iterator[Traffic]:
    """Send so many deliveries a second while this goes on."""
    traffic, ends = Traffic(installation, action, seconds, installation.endpoints()), threading.Event()
    threads = [threading.Thread(target=traffic.follow, args=[ends])]
    threads += [threading.Thread(target=traffic.send, args=[ends, SENDERS / a_second]) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        yield traffic
    finally:
        ends.set()
        for thread in threads:
            thread.join()
