"""The watch over the receiver's connections, beside `test_receiver_stop`, which holds it against real ones."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from webhooks.receiver.connections import HEADER_CHECKS, Connections


def test_a_look_that_fails_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def fail(_path: Path) -> None:
        looks.append("failed")
        raise OSError("Too many open files")

    monkeypatch.setattr("webhooks.receiver.connections.CHECK_SECONDS", 0.0)
    monkeypatch.setattr("pathlib.Path.iterdir", fail)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_told: None)
        loop.call_soon(Connections(0).watch, loop)
        async with asyncio.timeout(30):
            while len(looks) < 3:
                await asyncio.sleep(0)

    asyncio.run(run())


def test_where_connections_are_many_those_that_were_never_used_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy may open some ahead, so that as long as there is room they are idle ones like any other."""
    monkeypatch.setattr("webhooks.receiver.connections.MANY", 2)
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        connections = Connections(listener.getsockname()[1])

        def connect() -> socket.socket:
            client = opened.enter_context(socket.create_connection(listener.getsockname()))
            opened.enter_context(listener.accept()[0])
            client.settimeout(0.0)
            return client

        used, unused = connect(), connect()
        with connections.busy("{}:{}".format(*used.getsockname())):
            pass
        for _ in range(2 * HEADER_CHECKS):
            connections._check()
        assert is_open(used)
        assert is_open(unused)
        third = connect()
        for _ in range(HEADER_CHECKS + 1):
            connections._check()
        assert [is_open(client) for client in (used, unused, third)] == [True, False, False]


def is_open(client: socket.socket) -> bool:
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
