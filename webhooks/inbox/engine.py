"""What the inbox does differently on each database: one contract, and a module for each database that fulfils it.

Only `store.py` calls `insert`, only `transitions.py` calls `exchange` and `release`. They decide what is to change, and
an engine makes the change.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from django.db import connection

from webhooks.inbox import postgresql, sqlite
from webhooks.inbox.claimed_job import Wanted
from webhooks.inbox.kept_bodies import opened
from webhooks.inbox.new_delivery import NewDelivery, Stored

Change = Mapping[str, Any]
"""What the end of an attempt changes, as `transitions.py` hands it over."""


class Engine(Protocol):
    """The contract."""

    def insert(self, deliveries: Sequence[NewDelivery]) -> list[Stored | None]:
        """Insert deliveries of different keys with their payloads and jobs, all in one transaction.

        None for each that is there already, or whose source is not. Not inserted either is a job that another hook's
        delivery has for the same event, where its handler wants only one.
        """

    def exchange(
        self, changes: Sequence[Change], wanted: Wanted | None
    ) -> tuple[Collection[tuple[int, int]], Sequence[tuple[Any, ...]]]:
        """Record ended attempts, each given once, and claim jobs, all in one transaction.

        Return (job, attempt) of each that was still the current one and is recorded, and for each claimed job the
        values of ClaimedJob in its order; the longest due first. A job recorded here is not claimed here.
        """

    def release(self, jobs: Sequence[tuple[int, int]]) -> int:
        """Queue jobs again whose current attempt, given as (job, attempt), has not begun; return how many."""

    def prepare_connection(self, *, wait_seconds: float) -> None:
        """Prepare a new connection for a request that waits `wait_seconds` for its transaction."""

    def limit_lock_wait(self, *, milliseconds: int) -> None:
        """Limit how long a statement of this transaction waits for a lock."""

    def commit_without_waiting(self) -> None:
        """Let this transaction's commit not wait for the disk, where that is possible."""


def engine() -> Engine:
    """Return the engine of this process's database."""
    return postgresql if connection.vendor == "postgresql" else sqlite


def payload_of(delivery_id: int) -> bytes | None:
    """Return a delivery's body, or None if it has been pruned. Without the ORM: every run needs it.

    Raises UnreadableBodyError.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM webhooks_payload WHERE delivery_id = %s", [delivery_id])
        row: tuple[Any, ...] | None = cursor.fetchone()
    return opened(bytes(row[0])) if row else None
