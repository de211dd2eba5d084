"""`manage.py pull`: brings a stored delivery, or those of a pull request, from an installation here, and runs them."""

import json
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from webhooks import local_run
from webhooks.inbox.tokens import PREFIX, SHAPE
from webhooks.management import pulled
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.management.tables import console_on
from webhooks.pulling.pulling import Pulled, Unseen, Wanted, pull
from webhooks.pulling.remote import Part, Remote, RemoteError

MOST = 500
_PULL_REQUEST = re.compile(r"([\w.-]+/[\w.-]+)#([0-9]{1,10})", re.ASCII)


class Command(BaseCommand):
    help = (
        "Pull a stored delivery, or a pull request's deliveries in order of arrival, from an installation into the "
        "local inbox. The worker of `make run` runs its handlers; without one they run here. Ends with 1 if a handler "
        "fails, or something was not handed out."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("guid", nargs="?", type=uuid.UUID, metavar="GUID", help="X-GitHub-Delivery of an event.")
        what.add_argument("--pull-request", metavar="OWNER/NAME#NUMBER", help="Such as acme/widgets#7.")
        parser.add_argument("--from", required=True, dest="url", metavar="URL", help="https://hooks.example.com")
        parser.add_argument("--token-file", type=Path, metavar="FILE", help="Has your token; else HOOKLINE_TOKEN.")
        parser.add_argument("--source", help="The source here that they go to (default: the same, or the only one).")
        running = parser.add_mutually_exclusive_group()
        running.add_argument("--run", action="store_true", default=None, help="Run the handlers here.")
        running.add_argument("--no-run", dest="run", action="store_false", help="Only store them.")
        parser.add_argument("--again", action="store_true", help="Run also what is stored here already.")
        parser.add_argument("--most", type=int, default=MOST, help=f"How many at most (default {MOST}).")
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(
        self, *, guid: uuid.UUID | None, pull_request: str | None, url: str, run: bool | None, **options: Any
    ) -> None:
        if settings.HOOKLINE_ENVIRONMENT == "production":
            raise CommandError(
                "An installation in production takes in what GitHub signs, and nothing else: "
                "pull where HOOKLINE_ENVIRONMENT is embedded."
            )
        remote = _remote(url, _token(options["token_file"]))
        on_migrated_database(lambda: None, app="webhooks")
        has_worker = local_run.is_running(settings.HOOKLINE_DATA_DIR)
        wanted = Wanted(
            host=remote.host,
            who=account(),
            source_for=lambda theirs: _source(theirs, options["source"]),
            runs=not has_worker if run is None else run,
            again=options["again"],
            most=max(1, options["most"]),
        )
        with remote:
            parts = remote.of_guid(guid) if guid else remote.of_pull_request(*_pull_request(pull_request or ""))
            found, unseen = self._pull(parts, wanted, is_json=options["format"] == "json")
        self._conclude(found, unseen, wanted, has_worker=has_worker, is_json=options["format"] == "json")

    def _pull(self, parts: Iterator[Part], wanted: Wanted, *, is_json: bool) -> tuple[list[Pulled], Unseen]:
        found, unseen, console = [], Unseen(), console_on(self.stdout)
        with tqdm(unit=" deliveries", leave=False, disable=is_json or not sys.stderr.isatty()) as bar:
            try:
                for one in pull(parts, wanted, unseen):
                    found.append(one)
                    if not is_json:
                        bar.clear()
                        pulled.show(console, one, wanted)
                    bar.update()
            except RemoteError as error:
                raise CommandError(str(error)) from None
        return found, unseen

    def _conclude(
        self, found: list[Pulled], unseen: Unseen, wanted: Wanted, *, has_worker: bool, is_json: bool
    ) -> None:
        calls = pulled.recorded()
        if is_json:
            self.stdout.write(json.dumps(pulled.as_json(found, unseen, calls), indent=2))
        else:
            for line in pulled.conclusion(found, unseen, wanted, calls, has_worker=has_worker):
                console_on(self.stdout).print(line)
        if pulled.is_faulty(found, unseen):
            raise SystemExit(1)


def _remote(url: str, token: str) -> Remote:
    try:
        return Remote(url, token)
    except ValueError as error:
        raise CommandError(f"--from {error}.") from None


def _token(file: Path | None) -> str:
    try:
        token = file.read_text().strip() if file else settings.HOOKLINE_TOKEN
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--token-file cannot be read: {getattr(error, 'strerror', 'it is no text')}.") from None
    if not token:
        raise CommandError(
            "Give your token, in HOOKLINE_TOKEN or by --token-file. You make one on that installation's console: "
            "Tokens, in your user's menu."
        )
    if not SHAPE.fullmatch(token):
        raise CommandError(f"That is no token of Hookline's, which begin with {PREFIX}; nothing was sent.")
    return token


def _pull_request(given: str) -> tuple[str, int]:
    found = _PULL_REQUEST.fullmatch(given)
    if found is None:
        raise CommandError("--pull-request must be such as acme/widgets#7.")
    return found[1], int(found[2])


def _source(theirs: str, given: str | None) -> str:
    sources: list[str] = settings.HOOKLINE_SOURCES
    if given is None and (theirs in sources or len(sources) == 1):
        return theirs if theirs in sources else sources[0]
    if given in sources:
        return str(given)
    configured = f"HOOKLINE_SOURCES has {', '.join(sources)}"
    if given is not None:
        raise CommandError(f"There is no source {given} here: {configured}.")
    raise CommandError(f"It came from the source {theirs}, which is not here: {configured}. Say which by --source.")
