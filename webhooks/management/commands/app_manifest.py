"""`manage.py app_manifest`: makes the GitHub App that the installed handlers need, and keeps its key and secret."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.github.app_manifest import LEVELS, LONGEST_NAME, UnknownEventError, manifest, new_app_url, website_of
from webhooks.registering.conversion import ConversionError, check_free, convert, keep
from webhooks.registering.form import CALLBACK, FormServer
from webhooks.source_secrets import APP_ID, variable_of
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.matching import EVERY_EVENT

PORT = 8765
_ORGANIZATION = re.compile(r"[A-Za-z0-9-]{1,100}")
_PERMISSION = re.compile(rf"([a-z_]{{1,100}})(?::({'|'.join(LEVELS)}))?")


class Command(BaseCommand):
    help = (
        "Make the GitHub App for your handlers: a form on this machine leads your browser to GitHub with everything "
        "filled in, and what GitHub gives back is kept in files."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", help="Where the installation is: https://hooks.example.com")
        parser.add_argument("--organization", default="", help="Whose App it is (default: yours).")
        parser.add_argument("--name", default="", help="The App's name (default: hookline, and the host).")
        parser.add_argument("--source", default=settings.HOOKLINE_SOURCES[0], help="Default: the first.")
        parser.add_argument("--event", action="append", default=[], metavar="NAME", help="A further event.")
        parser.add_argument("--permission", action="append", default=[], metavar="NAME:LEVEL", help="As checks:write.")
        parser.add_argument("--directory", type=Path, default=settings.HOOKLINE_DATA_DIR / "app", help="For the files.")
        parser.add_argument("--port", type=int, default=PORT, help=f"The form's, on 127.0.0.1 (default {PORT}).")
        parser.add_argument("--print", action="store_true", help="Print the manifest as JSON, and do no more.")
        parser.add_argument("--code", help="GitHub's code, where the browser could not come back to this machine.")

    def handle(self, *, url: str | None, code: str | None, source: str, directory: Path, **options: Any) -> None:
        if source not in settings.HOOKLINE_SOURCES:
            raise CommandError(
                f"There is no source {source}; HOOKLINE_SOURCES has {', '.join(settings.HOOKLINE_SOURCES)}."
            )
        api_url = settings.HOOKLINE_GITHUB_ACCESS[source]["api_url"]
        if code is not None:
            self._exchange(code, api_url=api_url, source=source, directory=directory)
            return
        if options["print"]:
            made = _manifest(_url(url), source, f"http://127.0.0.1:{options['port']}{CALLBACK}", options)
            self.stdout.write(json.dumps(made, indent=2))
            return
        _check_free(directory)
        page = new_app_url(website_of(api_url), _organization(options["organization"]))
        code = self._ask(_url(url), source, page, options)
        self._exchange(code, api_url=api_url, source=source, directory=directory)

    def _ask(self, url: str, source: str, page: str, options: Mapping[str, Any]) -> str:
        try:
            server = FormServer(options["port"])
        except (OSError, OverflowError):
            raise CommandError(f"Port {options['port']} cannot be used; give another by --port.") from None
        made = _manifest(url, source, server.redirect_url, options)
        self.stdout.write(f"Open {server.url}/ in a browser in which you are signed in to GitHub. Ctrl-C ends this.")
        self.stdout.flush()
        try:
            return server.wait(made, new_app_url=page)
        except KeyboardInterrupt:
            raise CommandError("No App was made, as far as is known here.") from None

    def _exchange(self, code: str, *, api_url: str, source: str, directory: Path) -> None:
        _check_free(directory)
        try:
            app = convert(code, api_url=api_url)
            files = keep(app, directory)
        except ConversionError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{directory}: {error.strerror}. Make a new key and secret on the App's page.") from None
        self.stdout.write(f"The App {app.name!r} is made: {app.html_url}")
        self.stdout.write("Give Hookline these variables, and install the App on your repositories:")
        self.stdout.write(f"  {variable_of(source, APP_ID)}={app.id}")
        for name, path in files.items():
            self.stdout.write(f"  {variable_of(source, name)}_FILE={path.resolve()}")


def _manifest(url: str, source: str, redirect_url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    events = {event for one in installed_subscriptions() for event in one.events} | set(options["event"])
    if EVERY_EVENT in events and not options["event"]:
        names = [one.name for one in installed_subscriptions() if EVERY_EVENT in one.events]
        raise CommandError(f"{', '.join(names)}: subscribed to every event. Say which GitHub is to send, by --event.")
    host = urlsplit(url).hostname or ""
    name = options["name"] or f"hookline {host}"[:LONGEST_NAME]
    if len(name) > LONGEST_NAME:
        raise CommandError(f"An App's name has {LONGEST_NAME} characters at most.")
    try:
        return manifest(
            url,
            source=source,
            name=name,
            events=events - {EVERY_EVENT},
            permissions=_permissions(options["permission"]),
            redirect_url=redirect_url,
        )
    except UnknownEventError as error:
        raise CommandError(f"A GitHub App cannot subscribe to {error.args[0]!r}, by GitHub's list of events.") from None


def _permissions(given: list[str]) -> dict[str, str]:
    found = [_PERMISSION.fullmatch(each) for each in given]
    if not all(found):
        raise CommandError(f"--permission must be such as checks:write; the levels are {', '.join(LEVELS)}.")
    return {each[1]: each[2] or "read" for each in found if each}


def _url(given: str | None) -> str:
    parts = urlsplit(given or "")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise CommandError("--url must be where the installation is, such as https://hooks.example.com.")
    return (given or "").rstrip("/")


def _organization(given: str) -> str:
    if given and not _ORGANIZATION.fullmatch(given):
        raise CommandError("--organization must be an organisation's name, as it stands in its address.")
    return given


def _check_free(directory: Path) -> None:
    try:
        check_free(directory)
    except FileExistsError as error:
        raise CommandError(f"{error} is there already: another App's. Move it, or give another --directory.") from None
