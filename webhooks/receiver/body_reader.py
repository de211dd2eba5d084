"""Reads one body to its end, within limits on its size, its time, its rate and the memory that all bodies share.

Every body is read here: large or small, chunked or not, of a delivery or of a page.
"""

import asyncio
from collections.abc import AsyncIterator

from webhooks.receiver.body_length import Announced
from webhooks.receiver.byte_budget import Share
from webhooks.receiver.replies import RefusedError, too_large

UNCOUNTED_BYTES = 64 * 1024
"""The first bytes of each body. They are read at any rate, and do not count for HELD_BYTES. Most bodies end here."""
HELD_BYTES = 96 * 1024 * 1024
"""How many bytes beyond that all bodies together may hold. A body holds its bytes until its request is answered."""
STEP_BYTES = 2 * 1024 * 1024
"""How much of HELD_BYTES a body takes at a time, and never more than it has sent: a body that has barely begun must not
take the room of others."""
LEAST_BYTES = 32 * 1024
LEAST_SECONDS = 2.0
"""After UNCOUNTED_BYTES, so many bytes must arrive in so many seconds of waiting for them, or the body is refused."""


async def read_body(chunks: AsyncIterator[bytes], announced: Announced, *, seconds: float, held: Share) -> bytes:
    """Return the whole body, or raise RefusedError. `held` is its share of HELD_BYTES."""
    body = bytearray()
    length, limit = announced.length, announced.limit
    room = UNCOUNTED_BYTES
    most = limit if length is None else length
    sender = _Sender(chunks, seconds)
    while len(body) != length and (chunk := await sender.next_chunk()):
        needed = len(body) + len(chunk)
        if needed > limit:
            raise too_large(limit)
        if needed > room:
            step = max(needed - room, min(STEP_BYTES, len(body), most - room))
            await held.take(step)
            room += step
        body += chunk
    # Granian marks the end by one empty chunk. If a second one follows, the connection broke or trailers came.
    if len(body) != length and (length is not None or await sender.next_chunk() is not None):
        raise RefusedError(400, "The body broke off before its end, or trailers followed it.")
    return bytes(body)


class _Sender:
    """The sender of a body. Its time runs while the receiver waits for a chunk, not while it waits for room."""

    def __init__(self, chunks: AsyncIterator[bytes], seconds: float) -> None:
        self._chunks = chunks
        self._seconds = self._left = seconds
        self._least_left = LEAST_SECONDS
        self._arrived = self._least_from = 0

    async def next_chunk(self) -> bytes | None:
        """Return the next chunk, b"" at the body's end, or None after that."""
        may_be_slow = self._arrived <= UNCOUNTED_BYTES
        if may_be_slow or self._arrived - self._least_from >= LEAST_BYTES:
            self._least_from, self._least_left = self._arrived, LEAST_SECONDS
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._left if may_be_slow else min(self._left, self._least_left)):
                chunk = await anext(self._chunks)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise RefusedError(408, self._reason(clock() - began)) from None
        self._left -= clock() - began
        self._least_left -= clock() - began
        self._arrived += len(chunk)
        return chunk

    def _reason(self, waited: float) -> str:
        if waited >= self._left:
            return f"The body did not arrive within {self._seconds:g} s."
        return f"The body came too slowly: fewer than {LEAST_BYTES:,} bytes in {LEAST_SECONDS:g} s."
