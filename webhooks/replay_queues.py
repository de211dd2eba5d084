"""Where jobs wait that a replay runs again: in the *replay queue* of their own queue, behind all of its other jobs.

A replay queue is a name in the inbox alone; the broker has none. Whoever consumes a queue also asks for the jobs of its
replay queue, once the queue itself has nothing due (decision 0014). No handler's queue has such a name, since it may
hold no slash.
"""

MARK = "/replay"


def replay_queue(queue: str) -> str:
    """Return the replay queue of a queue."""
    return f"{live_queue(queue)}{MARK}"


def live_queue(queue: str) -> str:
    """Return the queue that a replay queue belongs to; any other queue is its own."""
    return queue.removesuffix(MARK)


def is_replay_queue(queue: str) -> bool:
    return queue.endswith(MARK)
