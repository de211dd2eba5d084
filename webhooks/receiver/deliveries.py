"""Takes in deliveries on the event loop: small ones are verified there and committed together, others go to threads."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.group_commit import GroupCommit
from webhooks.receiver.body_reader import UNCOUNTED_BYTES
from webhooks.receiver.intake import Offers, Rules, acknowledged, receive, stored_by_itself, unavailable, verified
from webhooks.receiver.replies import RefusedError, Reply

SMALL_BODY = UNCOUNTED_BYTES
"""To verify, parse and match such a body takes less than handing it to a thread and back would gain."""
LARGE_BODY = 1024 * 1024
LARGE_THREADS = 1
"""How many larger bodies are worked on at a time: to parse and store a body takes several times its size."""

logger = logging.getLogger(__name__)


class Deliveries:
    """What the receiver does with webhooks, once their bodies are here."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        rules: Callable[[], Rules],
        committer: Callable[[], Committer],
        publisher: Callable[[], Offers],
        threads: int,
    ) -> None:
        self._rules, self._committer, self._publisher = rules, committer, publisher
        self._together = GroupCommit(committer, loop)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="deliveries")
        self._large_threads = ThreadPoolExecutor(LARGE_THREADS, thread_name_prefix="large-deliveries")

    def close(self) -> None:
        for lane in (self._threads, self._large_threads):
            lane.shutdown(wait=True)

    async def reply(self, source: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Take in a delivery whose head was checked, and return the reply, or raise RefusedError.

        However long it waits: a delivery that is stored after GitHub has hung up is stored all the same.
        """
        try:
            if len(body) > SMALL_BODY:
                return await self._by_thread(source, headers, body)
            return await self._small(source, headers, body)
        except InboxUnavailableError:
            raise unavailable() from None
        except RefusedError:
            raise
        except Exception:
            # The sender reads JSON. Nothing is acknowledged, so that the delivery can be sent again.
            logger.exception("delivery failed", extra={"guid": headers.get("X-GitHub-Delivery", "")})
            raise RefusedError(500, "The delivery could not be received; the receiver's log says why.") from None

    async def _small(self, source: str, headers: Mapping[str, str], body: bytes) -> Reply:
        new = verified(source, headers, body, self._rules())
        stored = await self._together.store(new)
        if stored is None:
            loop = asyncio.get_running_loop()
            stored = await loop.run_in_executor(self._threads, stored_by_itself, new, self._committer())
        return acknowledged(new, stored, self._publisher())

    async def _by_thread(self, source: str, headers: Mapping[str, str], body: bytes) -> Reply:
        def work() -> Reply:
            return receive(
                source, headers, body, rules=self._rules(), committer=self._committer(), publisher=self._publisher()
            )

        lane = self._large_threads if len(body) > LARGE_BODY else self._threads
        return await asyncio.get_running_loop().run_in_executor(lane, work)
