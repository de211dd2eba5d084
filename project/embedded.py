"""The data directory of the embedded default: the database, the broker's folders and generated secrets.

Nothing here is used in production, which must be given its secrets.
"""

import json
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

GENERATED = {
    "SECRET_KEY": 50,
    "GITHUB_WEBHOOK_SECRETS": 32,
    "HOOKLINE_OPERATOR_PASSWORD": 15,
}
"""The variables that are generated if they are not given, and their lengths in random bytes."""


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
        _create(file, {name: secrets.token_urlsafe(length) for name, length in GENERATED.items()})
    stored: dict[str, str] = json.loads(file.read_text())
    return stored


def _create(file: Path, content: dict[str, str]) -> None:
    """Write the whole file or nothing. Of several processes, the first to link its file wins; the others read that."""
    descriptor, name = tempfile.mkstemp(dir=file.parent)  # mode 0600
    with os.fdopen(descriptor, "w") as temporary:
        json.dump(content, temporary, indent=1)
        temporary.flush()
        os.fsync(temporary.fileno())
    try:
        os.link(name, file)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
