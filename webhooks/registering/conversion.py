"""Exchanges GitHub's code for the new App's id, key and webhook secret, and keeps them in files of their own.

https://docs.github.com/en/rest/apps/apps#create-a-github-app-from-a-manifest
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webhooks.pulling.remote import cause_of

SECONDS = 30.0
CODE = re.compile(r"[A-Za-z0-9_-]{1,200}")
KEY_FILE, SECRET_FILE = "private-key.pem", "webhook-secret"


class ConversionError(Exception):
    """GitHub did not give the App's credentials. The message shows none."""


@dataclass(frozen=True, slots=True)
class App:
    """A new App. Its secrets are never shown."""

    id: int
    name: str
    html_url: str
    private_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)


def convert(code: str, *, api_url: str) -> App:
    """Return the App that GitHub has made. A code is good once, and for one hour. Raises ConversionError."""
    import httpx  # Not above: no other command needs it.

    if not CODE.fullmatch(code):
        raise ConversionError(
            "That is no code of GitHub's: it stands after ?code= in the address that GitHub leads to."
        )
    try:
        answer = httpx.post(
            f"{api_url.rstrip('/')}/app-manifests/{code}/conversions",
            headers={"Accept": "application/vnd.github+json", "User-Agent": "hookline"},
            timeout=SECONDS,
        )
    except httpx.HTTPError as error:
        raise ConversionError(f"GitHub cannot be reached: {cause_of(error)}.") from None
    if answer.status_code == 404:
        raise ConversionError("GitHub does not know the code: it is good once, and for one hour. Begin again.")
    if answer.status_code != 201:
        raise ConversionError(f"GitHub answers {answer.status_code}.")
    try:
        return _app(answer.json())
    except (KeyError, TypeError, ValueError):
        raise ConversionError("GitHub's answer cannot be read.") from None


def _app(said: Mapping[str, Any]) -> App:
    key, secret = said["pem"], said["webhook_secret"]
    if not isinstance(key, str) or not isinstance(secret, str):
        raise TypeError
    return App(int(said["id"]), str(said["name"]), str(said["html_url"]), key, secret)


def keep(app: App, directory: Path) -> dict[str, Path]:
    """Write key and secret into files that only their owner may read; return each by its variable.

    Raises FileExistsError, before anything is written, if there is one already.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {
        "GITHUB_APP_PRIVATE_KEY": (directory / KEY_FILE, app.private_key),
        "GITHUB_WEBHOOK_SECRETS": (directory / SECRET_FILE, app.webhook_secret),
    }
    check_free(directory)
    for path, content in files.values():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
    return {name: path for name, (path, _) in files.items()}


def check_free(directory: Path) -> None:
    """Raise FileExistsError if the directory holds an App's files already: GitHub gives them out only once."""
    for name in (KEY_FILE, SECRET_FILE):
        if (directory / name).exists():
            raise FileExistsError(str(directory / name))
