"""Reads the manifests that a command was given."""

import sys
from collections.abc import Sequence
from pathlib import Path

from workers.deployment.manifests import Manifest, UnreadableManifestError, read_manifests


def manifests_of(files: Sequence[str]) -> list[Manifest]:
    """Return the manifests of rendered files, of which `-` is the standard input. Raises UnreadableManifestError."""
    return [manifest for file in files for manifest in _read(file)]


def _read(file: str) -> list[Manifest]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as error:
        raise UnreadableManifestError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UnreadableManifestError(f"{file} is no text.") from None
    return read_manifests(text, file="(stdin)" if file == "-" else file)
