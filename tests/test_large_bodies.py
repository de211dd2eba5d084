"""Large bodies at once: what is made of them must fit into the receiver's memory."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from webhooks.byte_budget import ByteBudget
from webhooks.front import LARGE_BODY, LARGE_BYTES_AT_WORK, Front
from webhooks.intake import Rules
from webhooks.subscriptions import Subscriptions

MB = 1024 * 1024


def order_of(limit: int, *sizes: int, gives_up: int | None = None) -> list[str]:
    """Let holders ask for so many bytes one after the other, and let go in turn; return who got and who let go."""

    async def run() -> list[str]:
        budget, told = ByteBudget(limit), []

        async def hold(number: int, size: int) -> None:
            async with budget.held(size):
                told.append(f"got {number}")
                await asyncio.sleep(0.02 * (number + 1))
                told.append(f"left {number}")

        holders = [asyncio.create_task(hold(number, size)) for number, size in enumerate(sizes)]
        await asyncio.sleep(0.01)
        if gives_up is not None:
            holders[gives_up].cancel()
        await asyncio.gather(*holders, return_exceptions=True)
        return told

    return asyncio.run(run())


def test_what_fits_is_held_together_and_the_rest_waits_in_its_order() -> None:
    assert order_of(10, 5, 5, 5) == ["got 0", "got 1", "left 0", "got 2", "left 1", "left 2"]


def test_one_that_is_larger_than_everything_is_held_alone() -> None:
    assert order_of(10, 3, 99, 3) == ["got 0", "left 0", "got 1", "left 1", "got 2", "left 2"]


def test_small_ones_do_not_overtake_a_large_one_for_ever() -> None:
    assert order_of(10, 6, 6, 1) == ["got 0", "left 0", "got 1", "got 2", "left 1", "left 2"]


@pytest.mark.parametrize(("gives_up", "left"), [(0, ["left 1", "left 2"]), (1, ["left 0", "left 2"])])
def test_one_that_gives_up_takes_nothing_with_it(gives_up: int, left: list[str]) -> None:
    told = order_of(10, 10, 10, 10, gives_up=gives_up)
    assert [line for line in told if line.startswith("left")] == left


def test_one_that_gives_up_in_the_moment_of_its_turn_gives_it_back() -> None:
    async def run() -> str:
        budget = ByteBudget(1)
        first = budget.held(1)
        await first.__aenter__()
        second = asyncio.create_task(budget.held(1).__aenter__())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)  # The second one's turn is here; it has not run since.
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        async with asyncio.timeout(5), budget.held(1):
            return "free"

    assert asyncio.run(run()) == "free"


@dataclass
class Request:
    """One request as Granian hands it over: its body in chunks, its response kept."""

    length: int
    status: int = 0
    chunk: bytes = field(default=b"a" * MB, repr=False)

    @property
    def scope(self) -> Any:
        headers = {
            "content-length": str(self.length),
            "content-type": "application/json",
            "x-github-event": "push",
            "x-github-delivery": "7f0c3a52-0b5e-4f5b-9b3e-0d6a4c1f2e3d",
            "x-hub-signature-256": "sha256=" + "0" * 64,
        }
        return SimpleNamespace(
            path="/webhooks/github",
            method="POST",
            headers=headers,
            server="127.0.0.1:8000",
            client="127.0.0.1:9",
            query_string="",
            http_version="1.1",
            scheme="http",
        )

    async def __call__(self) -> bytes:
        return b"a" * self.length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.length
        while left:
            part = min(left, len(self.chunk))
            left -= part
            yield self.chunk[:part]

    def response_bytes(self, status: int, _headers: Any, _body: bytes) -> None:
        self.status = status


class Application:
    """A WSGI application that notes how much it has in hand at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._large = self._small = 0
        self.most_large_bytes = self.most_small = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ["CONTENT_LENGTH"])
        large, small = (length, 0) if length > LARGE_BODY else (0, 1)
        with self._lock:
            self._large += large
            self._small += small
            self.most_large_bytes = max(self.most_large_bytes, self._large)
            self.most_small = max(self.most_small, self._small)
        time.sleep(0.1)
        with self._lock:
            self._large -= large
            self._small -= small
        start_response("202 Accepted", [])
        return [b""]


def test_of_large_bodies_no_more_is_worked_on_at_once_than_fits_and_small_ones_do_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("celery.platforms.set_pdeathsig", lambda _name: None)  # Not for the tests' own process.
    application = Application()
    rules = Rules(secrets={"github": ["x"]}, fingerprint_key="", subscriptions=Subscriptions(), max_body_bytes=25 * MB)
    front = Front(application, rules=lambda: rules, threads=8, body_seconds=10)
    requests = [Request(20 * MB) for _ in range(4)] + [Request(12 * MB)] + [Request(100) for _ in range(8)]

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        front.__rsgi_init__(loop)
        asked: list[Coroutine[Any, Any, None]] = [front.__rsgi__(one.scope, one) for one in requests]  # type: ignore[arg-type]
        await asyncio.gather(*asked)
        front.__rsgi_del__(loop)

    asyncio.run(serve())
    assert [one.status for one in requests] == [202] * len(requests)
    assert 20 * MB <= application.most_large_bytes <= LARGE_BYTES_AT_WORK
    assert application.most_small > 1
