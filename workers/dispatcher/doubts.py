"""When the inbox is compared with what the dispatcher knows: claims of which nobody knows are then given back.

There is a doubt after an exchange whose answer was lost, and as a dispatcher begins, since it may follow another. So a
worker asks the inbox at once, and says if it does not reach it. What a child knows counts too: it says it as it greets
a new dispatcher, and in a long run its slot tells it.
"""

import time

from workers.dispatcher.exchange import Claim
from workers.runs.slots import Slots

COMPARE_SECONDS = 5.0
"""How long after one comparison the next comes: what was cut off may be committed a moment later."""


class Doubts:
    """Moments are of the machine's monotonic clock."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._left = 1
        """How often the inbox is still to be compared."""
        self._compare_at = 0.0
        self._unheard: set[int] = set()
        """Places whose child may know of claims that this dispatcher does not."""
        self._began_at = time.monotonic()

    def arise(self, *, now: float) -> None:
        """An answer was lost: compare now, and once more."""
        self._left, self._compare_at = 2, now

    def wait_for(self, place: int) -> None:
        """The child in this place is asked what it knows."""
        self._unheard.add(place)

    def heard(self, place: int) -> None:
        """The child in this place has said it, or has ended."""
        self._unheard.discard(place)

    def known_to_children(self, *, now: float) -> set[Claim] | None:
        """Return the claims that only slots tell of; None if the inbox is not to be compared now.

        That is also so while a child has said nothing yet that is not in a long run: it will in a moment.
        """
        if not self._left or now < self._compare_at:
            return None
        # A turn that was just over as the dispatcher before ended has left nothing.
        self._unheard = {place for place in self._unheard if self._slots.is_in_turn(place)}
        claims: set[Claim] = set()
        for place in self._unheard:
            running, owed = self._slots.read(place), self._slots.owed(place)
            if running is None or running.began_at > self._began_at or owed is None:
                return None
            claims |= {(running.job_id, running.attempt), *owed}
        return claims

    def compared(self, *, now: float) -> None:
        self._left -= 1
        self._compare_at = now + COMPARE_SECONDS
