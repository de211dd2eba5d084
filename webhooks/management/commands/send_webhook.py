"""`manage.py send_webhook`: sends signed sample deliveries, or a payload of your own, to a running receiver."""

import json
import math
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from webhooks import local_run
from webhooks.github import samples
from webhooks.github.event_names import EVENT_NAME
from webhooks.github.payload import JSON, PayloadError, parse
from webhooks.github.sender import SAMPLE_HOOK_ID, Message, Sender
from webhooks.listening import url_of

ALL = "all"
MANY = 20
"""With more deliveries than this, there is a progress bar."""


class Command(BaseCommand):
    help = "Send signed deliveries over HTTP, as GitHub does, and summarise the answers."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        events = ", ".join([*samples.names(), ALL])
        parser.add_argument("event", help=f"One of {events}; or any event, with --payload.")
        parser.add_argument("--payload", type=Path, metavar="FILE", help="Send this JSON file as it is.")
        parser.add_argument("--count", type=int, default=1, help="How many of each (default 1).")
        parser.add_argument("--rate", type=float, help="Deliveries a second (default: as fast as answers come).")
        parser.add_argument("--concurrency", type=int, default=8, help="Connections at once (default 8).")
        parser.add_argument("--source", default="github", help="The source to send as (default github).")
        parser.add_argument("--to", metavar="URL", help="Where to (default: the source's address on this machine).")
        parser.add_argument("--secret", help="The webhook secret (default: the source's first).")
        parser.add_argument("--hook-id", type=int, default=SAMPLE_HOOK_ID, help=f"Default {SAMPLE_HOOK_ID}.")
        parser.add_argument("--repeat-guid", type=uuid.UUID, metavar="GUID", help="Send every delivery with this GUID.")

    def handle(self, *, event: str, payload: Path | None, count: int, rate: float | None, **options: Any) -> None:
        if count < 1 or options["concurrency"] < 1:
            raise CommandError("--count and --concurrency must be 1 or more.")
        if rate is not None and not 0 < rate < math.inf:
            raise CommandError("--rate must be a number of deliveries a second above 0.")
        url = _url(options["to"], options["source"])
        bodies = {event: _read(event, payload)} if payload else _samples(event)
        secret = options["secret"] or _secret(options["source"])
        messages = [Message.signed(name, body, secret=secret) for name, body in bodies.items()]
        guid = options["repeat_guid"]
        sender = Sender(
            url, hook_id=options["hook_id"], guid=str(guid) if guid else None, concurrency=options["concurrency"]
        )
        total = count * len(messages)
        with tqdm(total=total, unit="", leave=False, disable=total <= MANY or not sys.stderr.isatty()) as bar:
            try:
                sender.send(messages, count=count, rate=rate, progress=bar.update)
            except KeyboardInterrupt:
                self.stderr.write("Interrupted.")
        self._conclude(sender, total)

    def _conclude(self, sender: Sender, total: int) -> None:
        report = sender.report
        if report.is_refused:
            raise CommandError(f"Nobody listens at {sender.url}; is the receiver running?{_stale_note()}")
        for line in report.lines():
            self.stdout.write(line)
        if report.accepted < total:
            raise CommandError(f"{total - report.accepted:,} of {total:,} got no 2xx answer.")


def _samples(event: str) -> dict[str, bytes]:
    known = samples.names()
    if event not in (*known, ALL):
        raise CommandError(f"There is no sample of {event!r}; there is {', '.join(known)} and {ALL}.")
    names = known if event == ALL else [event]
    return {name: json.dumps(samples.load(name), separators=(",", ":")).encode() for name in names}


def _read(event: str, file: Path) -> bytes:
    if event == ALL or not EVENT_NAME.fullmatch(event):
        raise CommandError("With --payload, give the name of one event, such as push.")
    try:
        body = file.read_bytes()
        parse(body, content_type=JSON)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    except PayloadError as error:
        raise CommandError(f"{file} cannot be sent: {error}") from None
    return body


def _url(given: str | None, source: str) -> str:
    if given is None:
        return f"{_receiver()}/webhooks/{source}"
    try:
        parts = urlsplit(given)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username
    except ValueError:
        fits = False
    if not fits:
        raise CommandError("--to must be a URL such as http://127.0.0.1:8000/webhooks/github, with no password in it.")
    return given


def _receiver() -> str:
    """Return the address of this machine's receiver: by HOOKLINE_PORT, or the one that `make run` has noted."""
    run = local_run.noted(settings.HOOKLINE_DATA_DIR)
    if run and not settings.HOOKLINE_PORT_IS_GIVEN and local_run.is_running(settings.HOOKLINE_DATA_DIR):
        return run.receiver
    return url_of(settings.HOOKLINE_HOST, settings.HOOKLINE_PORT)


def _stale_note() -> str:
    run = local_run.noted(settings.HOOKLINE_DATA_DIR)
    if run is None or local_run.is_running(settings.HOOKLINE_DATA_DIR):
        return ""
    return f" The last `make run` on {settings.HOOKLINE_DATA_DIR}, at {run.receiver}, was killed and no longer runs."


def _secret(source: str) -> str:
    secrets: list[str] = settings.HOOKLINE_SECRETS.get(source, [])
    if not secrets:
        configured = ", ".join(settings.HOOKLINE_SECRETS)
        raise CommandError(f"Source {source!r} has no secret here (configured: {configured}); give one with --secret.")
    return secrets[0]
