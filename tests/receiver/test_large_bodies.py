"""Many bodies at once, and large ones: what is held and made of them must fit into the receiver's memory."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from webhooks.receiver.body_reader import HELD_BYTES, UNCOUNTED_BYTES
from webhooks.receiver.byte_budget import ByteBudget
from webhooks.receiver.connections import Connections
from webhooks.receiver.deliveries import LARGE_BODY, LARGE_THREADS, Deliveries
from webhooks.receiver.front import Front
from webhooks.receiver.intake import Rules
from webhooks.receiver.replies import Reply
from webhooks.subscriptions.subscription import Subscriptions

MB = 1024 * 1024


def order_of(limit: int, *sizes: int, gives_up: int | None = None) -> list[str]:
    """Let holders ask for so many bytes one after the other, and let go in turn; return who got and who let go."""

    async def run() -> list[str]:
        budget, told = ByteBudget(limit), []
        may_leave = [asyncio.Event() for _ in sizes]

        async def hold(number: int, size: int) -> None:
            async with budget.share() as share:
                await share.take(size)
                told.append(f"got {number}")
                await may_leave[number].wait()
                told.append(f"left {number}")

        async def until_none_can_go_on() -> None:
            for _ in range(100):
                await asyncio.sleep(0)

        holders = [asyncio.create_task(hold(number, size)) for number, size in enumerate(sizes)]
        await until_none_can_go_on()
        if gives_up is not None:
            holders[gives_up].cancel()
        for event in may_leave:
            event.set()
            await until_none_can_go_on()
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
        first = budget.share()
        await (await first.__aenter__()).take(1)
        second = asyncio.create_task(hold(budget))
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)  # The second one's turn is here; it has not run since.
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        async with asyncio.timeout(5):
            await hold(budget)
            return "free"

    async def hold(budget: ByteBudget) -> None:
        async with budget.share() as share:
            await share.take(1)

    assert asyncio.run(run()) == "free"


def test_holders_that_take_bit_by_bit_never_wait_for_each_other_in_a_circle() -> None:
    async def run() -> list[int]:
        budget, done = ByteBudget(10), []

        async def hold(number: int) -> None:
            async with budget.share() as share:
                for _ in range(8):
                    await share.take(1)
                    await asyncio.sleep(0)
                done.append(number)

        async with asyncio.timeout(5):
            await asyncio.gather(*(hold(number) for number in range(5)))
        return done

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


@dataclass
class Request:
    """One request as Granian hands it over: its body in chunks, its response kept.

    Of a body that is given `sends`, no more than that comes at once, and then one byte in each `drips` seconds.
    """

    length: int
    path: str = "/webhooks/github"
    sends: int | None = None
    drips: float = 3600.0
    is_chunked: bool = False
    status: int = 0
    taken: int = 0
    """How much of the body has been read."""
    chunk: bytes = field(default=b"a" * 64 * 1024, repr=False)

    @property
    def scope(self) -> Any:
        headers = {
            **({"transfer-encoding": "chunked"} if self.is_chunked else {"content-length": str(self.length)}),
            "content-type": "application/json",
            "x-github-event": "push",
            "x-github-delivery": "7f0c3a52-0b5e-4f5b-9b3e-0d6a4c1f2e3d",
            "x-hub-signature-256": "sha256=" + "0" * 64,
        }
        return SimpleNamespace(
            path=self.path,
            method="POST",
            headers=headers,
            server="127.0.0.1:8000",
            client="127.0.0.1:9",
            query_string="",
            http_version="1.1",
            scheme="http",
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        most = self.length if self.sends is None else self.sends
        while self.taken < self.length:
            part = min(most - self.taken, len(self.chunk))
            if part <= 0:
                await asyncio.sleep(self.drips)
                part = 1
            self.taken += part
            yield self.chunk[:part]
        if self.is_chunked:
            yield b""

    def response_bytes(self, status: int, _headers: Any, _body: bytes) -> None:
        self.status = status


class Application:
    """Works on deliveries and pages, and notes how much it has in hand at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._large = self._small = 0
        self.most_large_bytes = self.most_small = 0
        self.seconds = 0.1

    def work_on(self, length: int) -> None:
        large, small = (length, 0) if length > LARGE_BODY else (0, 1)
        with self._lock:
            self._large += large
            self._small += small
            self.most_large_bytes = max(self.most_large_bytes, self._large)
            self.most_small = max(self.most_small, self._small)
        time.sleep(self.seconds)
        with self._lock:
            self._large -= large
            self._small -= small

    def receive(self, _source: str, _headers: Any, body: bytes, **_parts: Any) -> Reply:
        """In place of the intake's, on a thread."""
        self.work_on(len(body))
        return Reply(202, {})

    async def receive_small(self, _source: str, _headers: Any, body: bytes) -> Reply:
        """In place of what is done on the event loop, which waits for the commit."""
        await asyncio.to_thread(self.work_on, len(body))
        return Reply(202, {})

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.work_on(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [])
        return [b""]


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def front(application: Application, monkeypatch: pytest.MonkeyPatch) -> Front:
    return front_of(application, monkeypatch, body_seconds=3600)


def front_of(application: Application, monkeypatch: pytest.MonkeyPatch, *, body_seconds: float) -> Front:
    monkeypatch.setattr(
        "webhooks.receiver.front.signal_at_parents_end", lambda _name: None
    )  # Not for the tests' own process.
    monkeypatch.setattr("webhooks.receiver.deliveries.receive", application.receive)
    monkeypatch.setattr(Deliveries, "_small", application.receive_small)
    rules = Rules(secrets={"github": ["x"]}, fingerprint_key="", subscriptions=Subscriptions(), max_body_bytes=25 * MB)

    def deliveries(loop: asyncio.AbstractEventLoop) -> Deliveries:
        def nothing() -> Any:
            return None

        return Deliveries(loop, rules=lambda: rules, committer=nothing, publisher=nothing, threads=8)

    return Front(
        application,
        rules=lambda: rules,
        deliveries=deliveries,
        body_seconds=body_seconds,
        connections=Connections(0),
    )


@contextlib.asynccontextmanager
async def serving(front: Front) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    front.__rsgi_init__(loop)
    try:
        yield
    finally:
        front.__rsgi_del__(loop)


async def answer(front: Front, *requests: Request) -> None:
    await asyncio.gather(*(front.__rsgi__(one.scope, one) for one in requests))  # type: ignore[arg-type]


def serve(front: Front, *requests: Request) -> list[int]:
    """Let the requests come at once; return their statuses."""

    async def run() -> None:
        async with serving(front), asyncio.timeout(60):
            await answer(front, *requests)

    asyncio.run(run())
    return [one.status for one in requests]


def test_of_large_bodies_no_more_is_worked_on_at_once_than_fits_and_small_ones_do_not_wait(
    front: Front, application: Application
) -> None:
    requests = [Request(20 * MB) for _ in range(4)] + [Request(12 * MB)] + [Request(100) for _ in range(8)]
    assert serve(front, *requests) == [202] * len(requests)
    assert 20 * MB <= application.most_large_bytes <= LARGE_THREADS * 20 * MB
    assert application.most_small > 1


@pytest.mark.parametrize("is_chunked", [False, True])
def test_eight_of_the_largest_payloads_at_once_are_taken_in_and_those_that_wait_are_not_charged_for_it(
    application: Application, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
) -> None:
    application.seconds = 0.5  # One after the other, longer than a body may take to arrive.
    front = front_of(application, monkeypatch, body_seconds=2)
    assert serve(front, *(Request(25 * MB, is_chunked=is_chunked) for _ in range(8))) == [202] * 8


@pytest.mark.parametrize(
    ("path", "length"),
    [("/webhooks/github", MB), ("/webhooks/github", 25 * MB), ("/sign-in/", MB), ("/livez", 5 * MB)],
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_bodies_that_never_end_are_held_up_to_the_bound_and_stop_no_small_one(
    front: Front, monkeypatch: pytest.MonkeyPatch, path: str, length: int, is_chunked: bool
) -> None:
    monkeypatch.setattr("webhooks.receiver.body_reader.LEAST_SECONDS", 3600.0)  # No body is ended before the test is.
    endless = [Request(length, path=path, sends=length - 1, is_chunked=is_chunked) for _ in range(200)]
    small = Request(UNCOUNTED_BYTES)

    async def run() -> None:
        async with serving(front), asyncio.timeout(60):
            waiting = asyncio.gather(answer(front, *endless))
            await answer(front, small)
            taken = -1
            while taken != (taken := sum(one.taken for one in endless)):  # Until none can go on.
                for _ in range(100):
                    await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())
    assert small.status == 202
    assert {one.status for one in endless} == {0}
    of_each = UNCOUNTED_BYTES + len(endless[0].chunk)  # The chunk that it has in hand and has no room for.
    assert sum(one.taken for one in endless) <= HELD_BYTES + length + len(endless) * of_each


@pytest.mark.parametrize("sends", [UNCOUNTED_BYTES + 1, MB + 1, 2_000_000 - 100])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_bodies_that_drip_are_ended_and_an_honest_one_behind_them_is_taken_in(
    front: Front, monkeypatch: pytest.MonkeyPatch, sends: int, is_chunked: bool
) -> None:
    monkeypatch.setattr("webhooks.receiver.body_reader.LEAST_SECONDS", 0.1)
    dripping = [Request(2_000_000, sends=sends, drips=0.09, is_chunked=is_chunked) for _ in range(80)]
    assert serve(front, *dripping, Request(2_000_000)) == [408] * 80 + [202]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_what_bodies_announce_and_never_send_keeps_no_honest_one_waiting(
    front: Front, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
) -> None:
    monkeypatch.setattr("webhooks.receiver.body_reader.LEAST_SECONDS", 3600.0)  # No body is ended before the test is.
    barely_begun = [Request(25 * MB, sends=UNCOUNTED_BYTES + 1, is_chunked=is_chunked) for _ in range(400)]
    honest = Request(2_000_000, is_chunked=is_chunked)

    async def run() -> None:
        async with serving(front), asyncio.timeout(60):
            waiting = asyncio.gather(answer(front, *barely_begun))
            while any(one.taken <= UNCOUNTED_BYTES for one in barely_begun):
                await asyncio.sleep(0)
            await answer(front, honest)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())
    assert honest.status == 202


def test_a_small_body_may_take_all_its_time(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.receiver.body_reader.LEAST_SECONDS", 0.01)
    assert serve(front, Request(UNCOUNTED_BYTES, sends=UNCOUNTED_BYTES - 3, drips=0.05)) == [202]
