"""kombu's filesystem transport, with messages and tables that are written atomically.

kombu's own transport opens a message's file and then writes it. A worker that reads it in between finds half a message,
and ends. The table of an exchange has the same fault: two programs that create it at once leave an unreadable file.
"""

import fcntl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]  # As kombu's own.
        folder = Path(self.data_folder_out)
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(folder / name, payload)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        with self._table(exchange) as table:
            bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
            if bound not in table:
                table.insert(0, bound)

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **options: Any) -> None:
        virtual.Channel._delete(self, queue, exchange, routing_key, pattern, *args, **options)
        with self._table(exchange) as table:
            bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
            if bound in table:
                table.remove(bound)

    @contextmanager
    def _table(self, exchange: str) -> Iterator[list[Any]]:
        """Let one program at a time change an exchange's table. Readers find the old table or the new one."""
        file: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]  # The stubs lack it.
        file.parent.mkdir(exist_ok=True)
        with file.with_name(f"{file.name}.lock").open("w") as lock:  # Closing it gives the lock back.
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.get_table(exchange)
            table = list(before)
            yield table
            if table != before:
                _write_whole(file, table)


def _write_whole(file: Path, content: Any) -> None:
    """Write under a name that no reader looks for, then give it its own."""
    unfinished = file.with_name(f"{file.name}.part")
    unfinished.write_text(dumps(content))
    unfinished.rename(file)


class Transport(filesystem.Transport):
    Channel = Channel
