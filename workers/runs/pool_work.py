"""Has a child of the pool do what the worker's parent process must not do: use the database.

Such work takes a place in the pool, as a message does. Otherwise the pool would hold one message more than it has
children: that message would wait behind a run that may be long, and a stop would not hand it back to the broker.
"""

from collections.abc import Callable
from typing import Any

from workers.stopping.flag import is_stopping


def do_in_child(worker: Any, function: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Have a child call a function as soon as one is free. Do nothing if the worker stops.

    The options are those of billiard's `Pool.apply_async`: `timeout`, `callback`, `error_callback`.
    """

    def start() -> None:
        if not is_stopping():
            worker.pool.apply_async(function, args=args, **options)

    if worker.semaphore is None:  # Without an event loop, the pool itself waits for a free child.
        start()
    elif not worker.semaphore.acquire(start):
        # Put this before the waiting messages, whose runs may be long: it may have to record runs before a lease ends.
        worker.semaphore._waiting.rotate(1)
