"""The embedded broker's files, while several programs write them at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from project.filesystem import Transport


def channel_of(connection: Connection) -> Any:
    """Return its channel; the stubs know no transport's own."""
    return connection.default_channel


def connection_to(directory: Path) -> Connection:
    options = {name: str(directory / name) for name in ("data_folder_in", "data_folder_out", "control_folder")}
    return Connection(transport=Transport, transport_options=options)


def test_programs_that_begin_an_exchange_at_once_leave_a_table_with_all_their_queues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _path: False)  # As each of them finds it that comes at the same moment.

    def bind(number: int) -> None:
        with connection_to(tmp_path) as connection:
            for queue in range(20):
                name = f"queue-{number}-{queue}-{'x' * (number + queue)}"
                channel_of(connection)._queue_bind("begun-together", name, "", name)

    with ThreadPoolExecutor(8) as programs:
        list(programs.map(bind, range(8)))
    with connection_to(tmp_path) as connection:
        assert len({bound.queue for bound in channel_of(connection).get_table("begun-together")}) == 160


def test_a_queue_that_is_deleted_leaves_the_table_and_the_others_stay(tmp_path: Path) -> None:
    with connection_to(tmp_path) as connection:
        (tmp_path / "data_folder_in").mkdir()
        channel = channel_of(connection)
        for name in ("a", "b"):
            channel._queue_bind("shared", name, "", name)
        channel._delete("a", "shared", "a", "")
        channel._delete("c", "shared", "c", "")
        assert [bound.queue for bound in channel.get_table("shared")] == ["b"]
