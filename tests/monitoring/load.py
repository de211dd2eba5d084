"""A small load of all kinds of deliveries, which rises and falls, on a thread."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event

from tests.support.scrapes import Scraped, Sending
from webhooks.threads import start_thread

KINDS = [
    *[Sending(seconds=0.05)] * 6,
    Sending(action="fail-once"),
    Sending(action="later"),
    Sending(event="push"),
    Sending(event="pull_request", action="opened"),
    Sending(event="made_up"),
]
RARE = [Sending(action="give-up"), Sending(action="fail"), Sending(secret="not the secret of this receiver")]
"""One round in five has them."""
CALM_ROUNDS, BURST_ROUNDS = 40, 15
BURST = 6
"""How many times as much is sent in a round of a burst."""


@contextmanager
def load(scraped: Scraped, *, pause_seconds: float) -> Iterator[None]:
    """Send round after round until the end of the block, with so long a pause after each."""
    stop, ended = Event(), Event()

    def run() -> None:
        for number in count():
            if stop.is_set():
                break
            is_burst = number % (CALM_ROUNDS + BURST_ROUNDS) >= CALM_ROUNDS
            scraped.send([*KINDS * (BURST if is_burst else 1), *(RARE if number % 5 == 0 else [])])
            time.sleep(pause_seconds)
        ended.set()

    start_thread("load", run)
    try:
        yield
    finally:
        stop.set()
        ended.wait(120)
