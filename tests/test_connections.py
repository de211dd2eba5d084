"""The watch over the receiver's connections, beside `test_receiver_stop`, which holds it against real ones."""

import asyncio
from pathlib import Path

import pytest

from webhooks.connections import Connections


def test_a_look_that_fails_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def fail(_path: Path) -> None:
        looks.append("failed")
        raise OSError("Too many open files")

    monkeypatch.setattr("webhooks.connections.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("pathlib.Path.iterdir", fail)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_told: None)
        loop.call_soon(Connections(0).watch, loop)
        async with asyncio.timeout(30):
            while len(looks) < 3:
                await asyncio.sleep(0)

    asyncio.run(run())
