"""A budget of bytes that tasks of one event loop share: whoever asked first gets its bytes first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Share:
    """What one holder has of a budget, and what it waits for."""

    def __init__(self, budget: "ByteBudget") -> None:
        self._budget = budget
        self.size = 0
        self.wanted = 0
        self.turn: asyncio.Future[None] | None = None

    async def take(self, size: int) -> None:
        """Take so many bytes more, once there is room for them."""
        self.wanted = size
        self.turn = asyncio.get_running_loop().create_future()
        self._budget.give(self)
        await self.turn


class ByteBudget:
    """Bounds the bytes that are held together: to its limit, and beyond that to what the oldest holder alone takes.

    A holder may take its bytes bit by bit. The oldest one always gets them, so that holders never wait for each other
    in a circle. Among the others, a younger one does not overtake an older one that waits, so that small ones cannot
    keep a large one waiting. A holder's age counts from the first bytes that it asked for.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._shares: dict[Share, None] = {}

    @asynccontextmanager
    async def share(self) -> AsyncIterator[Share]:
        """Let the block take bytes, and give all of them back at its end."""
        share = Share(self)
        try:
            yield share
        finally:
            self._shares.pop(share, None)
            self._free += share.size
            self._give_turns()

    def give(self, share: Share) -> None:
        """Enter a share that waits, and give to all for whom there is room."""
        self._shares.setdefault(share)
        self._give_turns()

    def _give_turns(self) -> None:
        for place, share in enumerate(self._shares):
            turn = share.turn
            if turn is None or turn.done():  # It waits for nothing, or has just given up.
                continue
            if place and share.wanted > self._free:
                return
            self._free -= share.wanted
            share.size += share.wanted
            turn.set_result(None)
