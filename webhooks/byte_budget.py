"""A budget of bytes that tasks of one event loop share: whoever comes first gets its share first."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Lets so many bytes be held together, or one holder alone, however many it asks for.

    Shares are given in the order in which they are asked for, so that small ones cannot keep a large one waiting.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def held(self, size: int) -> AsyncIterator[None]:
        share = min(size, self._limit)
        await self._take(share)
        try:
            yield
        finally:
            self._give_back(share)

    async def _take(self, share: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        self._give_turns()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((share, turn))
                self._give_turns()
            else:  # Its turn came in the very moment that it gave up.
                self._give_back(share)
            raise

    def _give_back(self, share: int) -> None:
        self._free += share
        self._give_turns()

    def _give_turns(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            share, turn = self._waiting.popleft()
            self._free -= share
            turn.set_result(None)
