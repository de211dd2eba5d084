"""The receiver as its own process, spoken to over raw sockets."""

import contextlib
import http.client
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.deliveries import PATH, body_of, headers_for
from tests.support.migrated import migrate
from tests.support.processes import free_port, running, wait_until

SECRET = "the secret of the hook at the front"
THREADS = 4
BODY = body_of(zen="Half measures are as bad as nothing at all.")
PATIENCE = 30.0
"""Seconds after which a test takes an answer for missing; no test waits for it to pass."""


def request(
    method: str = "POST",
    path: str = PATH,
    body: bytes = BODY,
    *,
    headers: dict[str, str] | None = None,
    without: str = "",
    sends_body: bool = True,
) -> bytes:
    """Return a signed delivery as bytes, with headers changed, added or left out."""
    fields = {"Host": "localhost", "Content-Length": str(len(body)), **headers_for(body, secret=SECRET)}
    fields |= headers or {}
    fields.pop(without, None)
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body if sends_body else b"")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection to the receiver, in bytes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> "Connection":
        self._socket.sendall(data)
        return self

    def ends_sending(self) -> "Connection":
        """Say that nothing more will come, and go on listening."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def reply(self, *, method: str = "POST") -> Reply:
        """Read one response. A `100 Continue` is one, too."""
        status_line = self._file.readline()
        assert status_line, "the receiver closed the connection without a word"
        headers = {name.lower(): value for name, value in http.client.parse_headers(self._file).items()}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        return Reply(int(status_line.split()[1]), headers, self._file.read(length))

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come from the receiver: no answer, and no end."""
        return not select.select([self._socket], [], [], 0)[0]

    def ends(self) -> bool:
        """Whether the receiver closes the connection with nothing more to say."""
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@dataclass
class Receiver:
    """A receiver process, its port and its log."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"
    _open: ExitStack = field(default_factory=ExitStack)

    def connect(self) -> Connection:
        connection = Connection(self.port)
        self._open.callback(connection.close)
        return connection

    def ask(self, data: bytes, *, method: str = "POST") -> Reply:
        return self.connect().send(data).reply(method=method)

    def stalled(self, length: int = len(BODY)) -> Connection:
        """Start a delivery whose body does not come, once the receiver has begun to wait for it."""
        head = request(headers={"Expect": "100-continue", "Content-Length": str(length)}, sends_body=False)
        connection = self.connect().send(head)
        assert connection.reply().status == 100
        return connection

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        except OSError:
            return False
        return True

    def is_live(self) -> bool:
        with contextlib.suppress(OSError, AssertionError):
            return self.ask(request("GET", "/livez", b"")).status == 200
        return False

    def workers(self) -> list[int]:
        """Return the processes that the launcher has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def stop(self, *, seconds: float = PATIENCE) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def complaints(self) -> list[str]:
        """Return the lines of the log that an operator would have to look at."""
        words = ("ERROR", "WARNING", "CRITICAL", "Traceback", "Exception", "[WARN")
        return [line for line in self.log.read_text().splitlines() if any(word in line for word in words)]

    def close(self) -> None:
        self._open.close()


@contextmanager
def receiver_in(directory: Path, *, port: int = 0, is_migrated: bool = True, **settings: object) -> Iterator[Receiver]:
    """Run a receiver until the end of the block, live from its start, on an inbox of its own unless told of another."""
    given = {
        "HOOKLINE_DATA_DIR": directory,
        "HOOKLINE_PORT": port or free_port(),
        "HOOKLINE_RECEIVER_THREADS": THREADS,
        "HOOKLINE_BODY_SECONDS": PATIENCE,
        "GITHUB_WEBHOOK_SECRETS": SECRET,
        **settings,
    }
    if is_migrated:
        migrate(given)
    log = directory / "receiver.log"
    with running("receiver", log=log, **given) as process:
        receiver = Receiver(int(str(given["HOOKLINE_PORT"])), log, process)
        try:
            wait_until(receiver.is_live, what=f"the receiver is live\n{log.read_text()}")
            yield receiver
        finally:
            receiver.close()
            if process.poll() is None:
                receiver.stop()
