"""A delivery's payload on its page: a tree that folds, or the first 64 KB as text. The whole body is the download's."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import orjson
from django.db.models import BinaryField, F, Func, Value
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from webhooks.github.payload import FORM, JSON, PayloadError, media_type, parse
from webhooks.inbox.kept_bodies import UnreadableBodyError, is_sealed, opened
from webhooks.models import Delivery, Payload

LONGEST = 64 * 1024
DEEPEST = 20
"""How many levels fold. What is below stands in one line."""
MOST_NODES = 3_000
MOST_OPEN = 4
"""An object or a list with more values than this is closed at first."""
_SUFFIXES = {JSON: "json", FORM: "txt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is shown of a body: a tree if it is JSON and short, else text; `is_whole` if nothing is missing.

    Or why nothing can be shown.
    """

    tree: SafeString | None = None
    text: str = ""
    is_whole: bool = True
    fault: str = ""


def preview(delivery: Delivery) -> Preview | None:
    """Return the payload's preview, or None if it was pruned. Of a clear one, 64 KB leave the database."""
    head = Func(F("body"), Value(1), Value(LONGEST), function="SUBSTR", output_field=BinaryField())
    body = Payload.objects.filter(pk=delivery.pk).values_list(head, flat=True).first()
    if body is None:
        return None
    try:
        raw = _start(delivery, bytes(body))
    except UnreadableBodyError as error:
        return Preview(fault=str(error))
    if len(raw) < delivery.body_bytes:
        return Preview(text=raw.decode(errors="replace"), is_whole=False)
    try:
        return tree(parse(raw, content_type=content_type(delivery)))
    except PayloadError:
        return Preview(text=raw.decode(errors="replace"))


def whole(delivery: Delivery) -> bytes | None:
    """Return the body in clear, or None if it was pruned. Raises UnreadableBodyError."""
    body = Payload.objects.filter(pk=delivery.pk).values_list("body", flat=True).first()
    return None if body is None else opened(bytes(body))


def _start(delivery: Delivery, head: bytes) -> bytes:
    """Return the first 64 KB in clear. An encrypted body can be read only as a whole."""
    if is_sealed(head) and len(head) == LONGEST:
        body = Payload.objects.filter(pk=delivery.pk).values_list("body", flat=True).first()
        head = bytes(body or b"")
    return opened(head, longest=LONGEST)


def content_type(delivery: Delivery) -> str:
    """Return the body's content type, without its parameters."""
    return media_type(str(delivery.headers.get("Content-Type", "")))


def download_type(delivery: Delivery) -> str:
    """Return the type to send the body as: only those that were accepted, so no browser runs what it contains."""
    kind = content_type(delivery)
    return kind if kind in _SUFFIXES else "application/octet-stream"


def file_name(delivery: Delivery) -> str:
    """Return the name of the file that a download of the body becomes."""
    return f"{delivery.event}-{delivery.guid}.{_SUFFIXES.get(content_type(delivery), 'bin')}"


def tree(payload: Mapping[str, Any]) -> Preview:
    """Return a payload as nested `<details>`: the first MOST_NODES values of it."""
    room = _Room()
    shown = _children(payload, room, depth=0)
    return Preview(tree=shown, is_whole=not room.was_short)


@dataclass(slots=True)
class _Room:
    """How many values there is still room for."""

    left: int = MOST_NODES
    was_short: bool = False

    def take(self) -> bool:
        self.was_short = self.was_short or not self.left
        self.left -= 1 if self.left else 0
        return not self.was_short


def _children(value: Mapping[str, Any] | list[Any], room: _Room, *, depth: int) -> SafeString:
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    kept = takewhile(lambda _: room.take(), pairs)
    nodes = ((_node(str(name), each, room, depth=depth),) for name, each in kept)
    return format_html('<ul class="tree">{}</ul>', format_html_join("", "<li>{}</li>", nodes))


def _node(name: str, value: Any, room: _Room, *, depth: int) -> SafeString:
    if not (isinstance(value, Mapping | list) and value) or depth >= DEEPEST:
        return format_html('<span class="tree-key">{}</span> <code>{}</code>', name, _in_one_line(value))
    return format_html(
        '<details{}><summary><span class="tree-key">{}</span> <span class="tree-size">{}</span></summary>{}</details>',
        mark_safe(" open") if not depth and len(value) <= MOST_OPEN else "",
        name,
        f"{len(value):,} {_unit(value)}",
        _children(value, room, depth=depth + 1),
    )


def _unit(value: Mapping[str, Any] | list[Any]) -> str:
    unit = "field" if isinstance(value, Mapping) else "item"
    return unit if len(value) == 1 else f"{unit}s"


def _in_one_line(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # It writes fewer levels than it reads.
        return "… nested too deeply to be shown; see the download"
