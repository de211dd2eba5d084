"""What the inbox does differently on each database: one contract, and a module for each database that fulfils it.

Only `store.py` calls `insert`, only `transitions.py` calls `claim` and `record`. They decide what is to change, and an
engine makes the change.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from django.db import connection

from webhooks.inbox import postgresql, sqlite
from webhooks.inbox.new_delivery import NewDelivery, Stored


class Engine(Protocol):
    """The contract."""

    def insert(self, deliveries: Sequence[NewDelivery]) -> list[Stored | None]:
        """Insert deliveries of different keys with their payloads and jobs, all in one transaction.

        None for each that is there already, or whose source is not. Not inserted either is a job that another hook's
        delivery has for the same event, where its handler wants only one.
        """

    def claim(self, job_id: int, *, worker: str, pid: int, lease_seconds: float) -> tuple[Any, ...] | None:
        """Return the values of `transitions.ClaimedJob` in its order, or None if the job cannot be claimed."""

    def record(self, change: Mapping[str, Any]) -> bool:
        """Make the change that `transitions` hands over; return whether the attempt was still the current one."""

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
    """Return a delivery's raw body, or None if it has been pruned. Without the ORM, since every run needs it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM webhooks_payload WHERE delivery_id = %s", [delivery_id])
        row: tuple[Any, ...] | None = cursor.fetchone()
    return bytes(row[0]) if row else None
