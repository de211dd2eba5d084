"""What tests of the receiver share: signed requests, and a receiver in this process that leaves no connection open."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from tests.support.processes import wait_until
from webhooks.inbox.committer import Committer
from webhooks.publishing.publisher import Publisher
from webhooks.receiver import views


@contextmanager
def fresh_receiver() -> Iterator[None]:
    """Let the views read the settings of this test; then end their threads and take back what they published."""
    for cached in _CACHED:
        cached.cache_clear()
    try:
        yield
    finally:
        if views.committer.cache_info().currsize:
            close(views.committer())
        if views.publisher.cache_info().currsize:
            finish(views.publisher())
        for message in (settings.HOOKLINE_DATA_DIR / "broker" / "messages").iterdir():
            message.unlink()
        for cached in _CACHED:
            cached.cache_clear()


_CACHED = (views.rules, views.secrets, views.hook_addresses, views.committer, views.publisher)


def finish(publisher: Publisher) -> None:
    """Wait until a publisher has done with all that it was offered, and close its connection to the broker."""
    wait_until(lambda: not publisher._queue.unfinished_tasks, what="the publisher's queue is empty")
    publisher._broker.close()


def close(committer: Committer) -> None:
    """End a committer's threads; each closes its own connection, which nobody else can."""
    pool = committer._pool
    together = threading.Barrier(max(1, len(pool._threads)))

    def close_connection() -> None:
        together.wait(10)
        connection.close()

    closed = [pool.submit(close_connection) for _ in range(together.parties)]
    for future in closed:
        future.result(20)
    pool.shutdown()
