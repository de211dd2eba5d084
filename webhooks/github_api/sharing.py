"""What the processes of one worker share of GitHub's API: tokens, limits that are reached, answers that may still hold.

A private directory of small files, encrypted with a key that is in the worker's memory alone: the parent makes both
before it forks its children. Whoever finds the directory of a worker that was killed can read nothing in it; the next
worker on the machine removes it. A process without such a parent makes a directory of its own.

It is a cache: a file that cannot be written or read costs a call, and nothing else.
"""

import atexit
import fcntl
import hashlib
import os
import shutil
import struct
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

PREFIX = "hookline-api-"
LARGEST_BYTES = 16 * 1024 * 1024
"""So much all kept answers take, for the whole worker. Beyond it, those that were written first are removed."""
_ENDS_AT = struct.Struct("=d")


class Shared:
    """The directory, as any of the processes uses it."""

    def __init__(self) -> None:
        self._key = urlsafe_b64encode(os.urandom(32))
        # Locked under another name first: whoever starts meanwhile removes each directory of ours that is not locked.
        new = Path(tempfile.mkdtemp(prefix="hookline-new-"))
        self._held = os.open(new, os.O_RDONLY)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self.directory = new.rename(new.with_name(new.name.replace("hookline-new-", PREFIX)))
        self._written = 0

    def get(self, kind: str, name: str) -> bytes | None:
        """Return what is kept under a name, or None."""
        from cryptography.fernet import InvalidToken

        try:
            plain = self._fernet.decrypt(self._path(kind, name).read_bytes())
        except (OSError, InvalidToken):
            return None
        (ends_at,) = _ENDS_AT.unpack_from(plain)
        return plain[_ENDS_AT.size :] if time.time() < ends_at else None

    def put(self, kind: str, name: str, value: bytes, *, seconds: float) -> None:
        """Keep a value for so long."""
        sealed = self._fernet.encrypt(_ENDS_AT.pack(time.time() + seconds) + value)
        path = self._path(kind, name)
        new = path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            # Whole or not at all: another process may read it at any moment.
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(sealed)
            new.replace(path)
        self._written += len(sealed)

    def remove(self, kind: str, name: str) -> None:
        with suppress(OSError):
            self._path(kind, name).unlink()

    def limit(self, kind: str, *, most: int = LARGEST_BYTES) -> None:
        """Remove the oldest of a kind, if together they take more than `most`. Now and then: to look takes a while."""
        if self._written < most // 16:
            return
        self._written = 0
        with suppress(OSError):
            found = [(path.stat(), path) for path in self.directory.glob(f"{kind}-*")]
            total = sum(stat.st_size for stat, _ in found)
            for stat, path in sorted(found, key=lambda each: each[0].st_mtime):
                if total <= most * 3 // 4:
                    break
                path.unlink(missing_ok=True)
                total -= stat.st_size

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Let one process at a time do something. The lock of a process that ends is free."""
        try:
            descriptor = os.open(self._path("lock", name), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Remove the directory."""
        with suppress(OSError):
            os.close(self._held)
        shutil.rmtree(self.directory, ignore_errors=True)

    @cached_property
    def _fernet(self) -> Any:
        # Imported only here: the parent makes the directory, and needs no cryptography.
        from cryptography.fernet import Fernet

        return Fernet(self._key)

    def _path(self, kind: str, name: str) -> Path:
        return self.directory / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:40]}"


_shared: Shared | None = None


def prepare() -> None:
    """Make the directory for this process and those that it forks, and remove what killed workers have left."""
    global _shared  # noqa: PLW0603  Of this process and its children.
    _remove_left()
    _shared = Shared()


def close() -> None:
    """Remove the directory, if this process has made one."""
    global _shared  # noqa: PLW0603  As above.
    if _shared is not None:
        _shared.close()
        _shared = None


def shared() -> Shared:
    """Return what this process shares with the others of its worker."""
    if _shared is None:
        prepare()
        atexit.register(close)
    assert _shared is not None
    return _shared


def _remove_left() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # It is another user's, or another worker's that runs.
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.getuid():
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)
