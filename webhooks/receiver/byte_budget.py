"""A budget of bytes that the tasks of one event loop share. The task that asked first gets its bytes first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Share:
    """The bytes of a budget that one holder has, and the bytes that it waits for."""

    def __init__(self, budget: "ByteBudget") -> None:
        self._budget = budget
        self.size = 0
        self.wanted = 0
        self.turn: asyncio.Future[None] | None = None

    async def take(self, size: int) -> None:
        """Take so many bytes more, when there is room for them."""
        self.wanted = size
        self.turn = asyncio.get_running_loop().create_future()
        self._budget.give(self)
        await self.turn


class ByteBudget:
    """Limits the bytes that all holders have together. Only the oldest holder may go beyond the limit.

    A holder may take its bytes in several steps. The oldest one always gets them, so that there is no deadlock. Among
    the others, a younger one never overtakes an older one that waits: otherwise small holders could keep a large one
    waiting for ever. A holder's age counts from the first bytes that it asked for.
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
        """Add a share that waits, and give bytes to all waiting shares for which there is room."""
        self._shares.setdefault(share)
        self._give_turns()

    def _give_turns(self) -> None:
        for place, share in enumerate(self._shares):
            turn = share.turn
            if turn is None or turn.done():  # It waits for no bytes, or its task was just cancelled.
                continue
            if place and share.wanted > self._free:
                return
            self._free -= share.wanted
            share.size += share.wanted
            turn.set_result(None)
