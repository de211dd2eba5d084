"""Moments that no signal from outside can hit for certain. Each is armed by an environment variable alone.

`FAULT_DIE_AT_OFFER=n` ends the whole receiver, as a lost node would, at its nth commit, before it publishes.
`FAULT_LOST_BACKOFF=s` has a lost run's job wait for no more than s seconds, so that all its runs fit into a test.
`FAULT_LOST_ALLOWANCE=n` has a job dead after n lost runs more than its `max_attempts`, instead of ten.
"""

import itertools
import os
import signal
from collections.abc import Iterable

from tests.faults.team.apps import DIE_AT_OFFER, LOST_ALLOWANCE, LOST_BACKOFF
from webhooks import Backoff
from webhooks.inbox import outcomes
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.publishing.publisher import Publisher


def arm() -> None:
    """Do what the environment says; without its variables, nothing."""
    if number := os.environ.get(DIE_AT_OFFER):
        _die_at_offer(int(number))
    if seconds := os.environ.get(LOST_BACKOFF):
        outcomes.LOST_BACKOFF = Backoff(first=float(seconds), longest=float(seconds))
    if runs := os.environ.get(LOST_ALLOWANCE):
        outcomes.LOST_ALLOWANCE = int(runs)


def _die_at_offer(number: int) -> None:
    offers = itertools.count(1)
    real = Publisher.offer

    def offer(self: Publisher, jobs: Iterable[JobToPublish]) -> None:
        if next(offers) == number:
            # The launcher and this process are one group, and nobody else is in it.
            os.killpg(os.getpgrp(), signal.SIGKILL)
        real(self, jobs)

    Publisher.offer = offer  # type: ignore[method-assign]
