"""The embedded default's data directory: the database, the broker's folders and the secrets that nobody gave.

Production does not come here; it must be given its secrets.
"""

import json
import os
import secrets
import tempfile
from pathlib import Path

GENERATED = {
    "SECRET_KEY": 50,
    "GITHUB_WEBHOOK_SECRETS": 32,
    "HOOKLINE_OPERATOR_PASSWORD": 15,
}
"""What is generated where it is missing: the variable and its length in random bytes."""


def open_data_directory(path: Path) -> Path:
    """Create the directory where it is missing, for its owner alone, and return it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    for folder in ("broker/messages", "broker/control"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    return path


def generated_secrets(directory: Path) -> dict[str, str]:
    """Return the generated secrets, creating those that are missing. Safe for processes that start at once."""
    file = directory / "secrets.json"
    if not file.exists():
        _create(file, {name: secrets.token_urlsafe(length) for name, length in GENERATED.items()})
    stored: dict[str, str] = json.loads(file.read_text())
    return stored


def _create(file: Path, content: dict[str, str]) -> None:
    """Write the whole file or nothing; whoever links first wins, and the others read what it wrote."""
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
