"""What is the same for all destinations: the names of their handlers, their queue, their limits. No I/O.

A destination is a handler that no app declares: an administrator makes it on the console, and it sends what it matches
to a URL. Its jobs are like all others. `webhooks/inbox/destinations/` has what is stored of it, `webhooks/forwarding/`
sends.
"""

import base64

PREFIX = "forward."
"""The names of these handlers begin with it, and no app may declare such a one."""
QUEUE = "forwarding"
"""The queue of a destination that names no other. Every worker consumes it unless its --queues say otherwise."""
FAIR_BY = "handler"
"""A destination shares its queue with the others, one part each, unless it names another key."""
LONGEST_SECONDS = 50.0
"""The longest time limit that a destination may have. The sending keeps it."""
RUN_SECONDS = 60.0
"""The time limit of the run, the same for all destinations: a worker needs no look at a destination to keep it, and a
change of the destination's own limit cannot outlast a lease."""
_MESSAGES = "forward/"
_STANDARD_PREFIX = "whsec_"
_STANDARD_BYTES = range(24, 65)


def handler_of(destination: str) -> str:
    """Return the name of a destination's handler."""
    return PREFIX + destination


def destination_of(handler: str) -> str:
    """Return the name of the destination whose handler this is; empty if it is an app's."""
    return handler.removeprefix(PREFIX) if handler.startswith(PREFIX) else ""


def task_of(queue: str) -> str:
    """Return the Celery task that a message names in which there is work for destinations of this queue.

    Tasks are registered as a worker starts, and destinations are made later: so there is one for each queue.
    """
    return _MESSAGES + queue


def is_standard_secret(secret: str) -> bool:
    """Tell whether this is a secret of Standard Webhooks: 24 to 64 bytes in Base64, with or without its prefix.

    Its library takes anything, leaves out what is no Base64, and so might sign with hardly any secret.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except ValueError:
        return False
    return len(key) in _STANDARD_BYTES


class NotForwardedError(Exception):
    """A destination has not taken a delivery. The message is for the timeline, and holds no secret."""

    def __init__(self, message: str, *, kind: str, is_final: bool = False, answer: str = "") -> None:
        """`kind` groups failures with others like it; if `is_final`, another attempt would fail the same way."""
        super().__init__(message)
        self.kind = kind
        self.is_final = is_final
        self.answer = answer
        """How the target's answer began."""
