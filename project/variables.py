"""Reads one variable of the environment as people write it: `NAME`, or the file that `NAME_FILE` names.

Env files of Docker keep quotes, editors add line ends and byte-order marks, copying adds blanks. Such characters around
a value are removed if they cannot belong to it, and refused if they might. No error message shows the value.
"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from environs import Env

from webhooks.source_secrets import listed_name

LISTS = (
    "ALLOWED_HOSTS",
    "GITHUB_HOOKS",
    "GITHUB_HOOK_ADDRESSES",
    "GITHUB_WEBHOOK_SECRETS",
    "HOOKLINE_APPS",
    "HOOKLINE_DESTINATION_KEYS",
    "HOOKLINE_ENCRYPTION_KEYS",
    "HOOKLINE_OIDC_ROLES",
    "HOOKLINE_PAYLOAD_KEYS",
    "HOOKLINE_REDACT",
    "HOOKLINE_SOURCES",
    "HOOKLINE_TRUSTED_ORIGINS",
    "HOOKLINE_TRUSTED_PROXIES",
)
"""Lists: their items may be on lines of their own."""
TEXTS = (*LISTS, "GITHUB_APP_PRIVATE_KEY")
"""Values of several lines."""
SECRETS = (
    "FLOWER_OAUTH2_SECRET",
    "GITHUB_WEBHOOK_SECRETS",
    "HOOKLINE_OIDC_CLIENT_SECRET",
    "HOOKLINE_OPERATOR_PASSWORD",
    "SECRET_KEY",
)
"""Quotes around these are refused, not removed: they may belong to the secret, and a wrong one verifies no delivery."""
MAY_BE_EMPTY = (
    *("FLOWER_URL_PREFIX", "HOOKLINE_APPS", "HOOKLINE_OPERATOR_PASSWORD", "HOOKLINE_TRUSTED_ORIGINS"),
    # By OpenTelemetry's rules an empty variable is one that is not there.
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
"""Only these may be empty, which means none."""
LARGEST_BYTES = 2**20

_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019")
_MARK = "\ufeff"
_LINE_ENDS = "\t\n\r"


class UnreadableValueError(Exception):
    """The variable's text cannot be a value. The message says why and does not show the text."""


class Variables(Env):
    """The reader of environs, with texts from `read` and `read_file`. `faults` has what these refuse, by variable."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.faults: dict[str, str] = {}

    def _get_value(self, env_key: str, default: Any) -> Any:
        """Return the value; the default where there is none, or none that can be read."""
        file_key = f"{env_key}_FILE"
        key = env_key if env_key in os.environ else file_key
        if key not in os.environ:
            return default
        try:
            if key == env_key and file_key in os.environ:
                raise UnreadableValueError(f"is given twice, directly and by {file_key}; leave one of them out.")
            return read(env_key) if key == env_key else read_file(env_key, file_key)
        except UnreadableValueError as error:
            self.faults[key] = str(error)
            return default


def read(name: str) -> str:
    """Return what the variable holds. Raises UnreadableValueError."""
    value = cleaned(name, os.environ[name])
    if not value and name not in MAY_BE_EMPTY:
        raise UnreadableValueError("is empty; give a value, or leave the variable out.")
    return value


def read_file(name: str, file_key: str) -> str:
    """Return what the variable's file holds. Raises UnreadableValueError."""
    path = cleaned(file_key, os.environ[file_key])
    if not path:
        raise UnreadableValueError("is empty; give the path of a file, or leave the variable out.")
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnreadableValueError(f"cannot be read ({getattr(error, 'strerror', None) or 'no path'}).") from None
    try:
        value = cleaned(name, _decoded(content))
    except UnreadableValueError as error:
        raise UnreadableValueError(f"its file {error}") from None
    if not value:
        raise UnreadableValueError("its file is empty; write the value into it.")
    return value


def _decoded(content: bytes) -> str:
    if len(content) > LARGEST_BYTES:
        raise UnreadableValueError("is larger than 1 MiB.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableValueError("is UTF-16; save it as UTF-8.")
    return content.decode(errors="surrogateescape")


def cleaned(name: str, text: str) -> str:
    """Return a value without the blanks, marks and quotes around it. Raises UnreadableValueError."""
    value = text.strip().removeprefix(_MARK).strip()
    _refuse_invisible_characters(value)
    if is_quoted(value):
        if listed_name(name) in SECRETS:
            raise UnreadableValueError(
                "begins and ends with quotes, as some env files leave them; take them off, or choose another secret."
            )
        value = unquoted(value)
    if listed_name(name) not in TEXTS and len(value.splitlines()) > 1:
        raise UnreadableValueError("must be a single line.")
    return value


def items(value: str) -> Iterator[str]:
    """Yield a list's items, separated by commas or line ends; no empty ones, and none with blanks around it."""
    for line in value.splitlines():
        for item in map(str.strip, line.split(",")):
            if item:
                yield item


def unquoted_items(value: str) -> list[str]:
    """Return the items of a list, each without quotes around it: for lists whose items never contain quotes."""
    return [unquoted(item) for item in items(value)]


def _refuse_invisible_characters(value: str) -> None:
    for character in value:
        kind = unicodedata.category(character)
        if kind == "Cs":  # A surrogate: os.environ has it for a byte that is not UTF-8.
            raise UnreadableValueError("is no text in UTF-8.")
        if kind == "Cc" and character not in _LINE_ENDS:
            raise UnreadableValueError("holds control characters, as a file in UTF-16 does; write it as plain text.")
        if kind == "Cf":
            raise UnreadableValueError(f"holds an invisible character (U+{ord(character):04X}); type it again.")


def is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] + value[-1] in _QUOTES


def unquoted(value: str) -> str:
    """Take off one pair of quotes around the whole value. `"a", "b"` keeps its quotes: they are two pairs."""
    if is_quoted(value) and not {value[0], value[-1]} & set(value[1:-1]):
        return value[1:-1].strip()
    return value
