"""The data directory of the embedded default: the database, the broker's folders and generated secrets.

Nothing here is used in production, which must be given its secrets.
"""

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from webhooks.encryption import new_key

GENERATED: Mapping[str, Callable[[], str]] = {
    "SECRET_KEY": partial(secrets.token_urlsafe, 50),
    "GITHUB_WEBHOOK_SECRETS": partial(secrets.token_urlsafe, 32),
    "HOOKLINE_OPERATOR_PASSWORD": partial(secrets.token_urlsafe, 15),
    "HOOKLINE_ENCRYPTION_KEYS": new_key,
    "HOOKLINE_DESTINATION_KEYS": new_key,
}
"""The variables that are generated if they are not given, and how."""


def open_data_directory(path: Path) -> Path:
    """Create the directory if it is missing, with access for its owner only, and return it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            _close_to_others(path)
        for folder in ("broker/messages", "broker/control"):
            (path / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"HOOKLINE_DATA_DIR: {error.strerror}.") from None
    return path


def _close_to_others(path: Path) -> None:
    # It may be a home directory or /tmp, given by mistake. Hookline must not change its mode, nor put secrets there.
    if any(path.iterdir()) and not (path / "secrets.json").exists():
        raise ImproperlyConfigured("HOOKLINE_DATA_DIR: holds other files, and others may read it; name one of its own.")
    path.chmod(0o700)


def generated_secrets(directory: Path) -> dict[str, str]:
    """Return the generated secrets, creating those that are missing. Safe for processes that start at once."""
    file = directory / "secrets.json"
    if not file.exists():
        _create(file, _completed({}))
    stored = _read(file)
    return stored if stored.keys() >= GENERATED.keys() else _complete(file)


def _create(file: Path, content: dict[str, str]) -> None:
    """Write the whole file or nothing. Of several processes, the first to link its file wins; the others read that."""
    written = _written(file.parent, content)
    try:
        os.link(written, file)
    except FileExistsError:
        pass
    finally:
        written.unlink()


def _complete(file: Path) -> dict[str, str]:
    """Add what an older release has not generated, one process at a time, and return all."""
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # Held until it is closed, or the process ends.
        stored = _read(file)
        if not stored.keys() >= GENERATED.keys():
            stored = _completed(stored)
            _written(file.parent, stored).replace(file)
        return stored
    finally:
        os.close(directory)


def _completed(stored: Mapping[str, str]) -> dict[str, str]:
    return {**{name: generate() for name, generate in GENERATED.items() if name not in stored}, **stored}


def _read(file: Path) -> dict[str, str]:
    stored: dict[str, str] = json.loads(file.read_text())
    return stored


def _written(directory: Path, content: Mapping[str, str]) -> Path:
    """Write the content to a new file in the directory, durably, and return it."""
    descriptor, name = tempfile.mkstemp(dir=directory)  # mode 0600
    with os.fdopen(descriptor, "w") as temporary:
        json.dump(content, temporary, indent=1)
        temporary.flush()
        os.fsync(temporary.fileno())
    return Path(name)
