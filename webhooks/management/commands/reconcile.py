"""`manage.py reconcile`: takes in what GitHub's log of deliveries has and the inbox has not. Once, or with --watch."""

import json
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from webhooks.github_api.access import HookAccess, hooks_of
from webhooks.management.migrated import on_migrated_database
from webhooks.management.pass_progress import PassProgress
from webhooks.management.probes import serve_probes
from webhooks.management.stop_signals import stop_at_signal
from webhooks.management.tables import console_on, printable, table
from webhooks.models import LogPass
from webhooks.probe_server import Health
from webhooks.reconciling.health import ReconcilerHealth
from webhooks.reconciling.running import BusyError, Options, reconcile
from webhooks.reconciling.watching import Watching
from webhooks.stop_times import RECONCILER_STOP_SECONDS

FIGURES = ("entries", "unwanted", "recovered", "asked", "lost", "unfetched", "calls")
MOMENTS = ("since", "until", "oldest_at", "gap_from", "gap_until")
BUSY = "another process reads this log"
NO_CREDENTIALS_STATUS = 78
"""EX_CONFIG of sysexits.h. The systemd unit is not started again after it: another start would find no more."""


class Command(BaseCommand):
    help = (
        "Read GitHub's own log of deliveries, and take in what is missing here. Ends with 1 if something is missing "
        "that it cannot take in, or may be missing."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--source", help="Only this source; else all that have credentials.")
        parser.add_argument("--mode", choices=LogPass.Mode.values, default=LogPass.Mode.RECOVER.value)
        parser.add_argument("--since", type=_moment, help="Back to this moment, such as 2026-11-26T14:00 (UTC).")
        parser.add_argument("--dry-run", action="store_true", help="Read the log, count, and change nothing.")
        parser.add_argument("--watch", action="store_true", help="Again and again, HOOKLINE_RECONCILE_SECONDS apart.")
        parser.add_argument("--format", choices=("table", "json"), default="table")

    def handle(self, **options: Any) -> None:
        stop = threading.Event()
        hooks = _hooks(options["source"])
        given = Options(mode=options["mode"], since=options["since"], is_dry_run=options["dry_run"])
        if options["watch"] and (given.is_dry_run or given.since):
            raise CommandError("--watch goes with neither --dry-run nor --since.")
        stop_at_signal(stop, seconds=RECONCILER_STOP_SECONDS)
        if options["watch"]:
            _watch(hooks, given, stop)
        else:
            on_migrated_database(lambda: None, app="webhooks")
            self._once(hooks, given, stop, is_json=options["format"] == "json")

    def _once(self, hooks: Sequence[HookAccess], given: Options, stop: threading.Event, *, is_json: bool) -> None:
        found: list[tuple[HookAccess, LogPass | None]] = []
        console = console_on(self.stdout)
        with nullcontext() if is_json or not console.is_terminal else PassProgress(console) as progress:
            for access in hooks:
                try:
                    done = reconcile(access, given, wait=stop.wait, watch=progress.show if progress else _ignore)
                except BusyError:
                    found.append((access, None))
                else:
                    found += [(access, one) for one in done]
        if is_json:
            self.stdout.write(json.dumps([_as_json(*one) for one in found], indent=2))
        else:
            console.print(_table(found, given.mode))
            for access, one in found:
                if reason := BUSY if one is None else one.reason:
                    console.print(f"{access.source} {access.hook}: {printable(reason)}")
        if any(one is None or one.state != LogPass.State.COMPLETE for _, one in found):
            raise SystemExit(1)


def _watch(hooks: Sequence[HookAccess], given: Options, stop: threading.Event) -> None:
    """Watch from the first moment on: a database that is down or not yet migrated is waited for, as a relay does."""
    health = ReconcilerHealth(every_seconds=settings.HOOKLINE_RECONCILE_SECONDS)
    if settings.HOOKLINE_PROBE_PORT:
        serve_probes(Health(live=health.live, ready=health.ready, started=health.started, registry=health.registry))
    Watching(hooks, given, stop=stop, health=health).run()


def _hooks(source: str | None) -> list[HookAccess]:
    """Return the hooks whose logs are to be read. Raises CommandError if there is none."""
    if source is not None and source not in settings.HOOKLINE_SOURCES:
        raise CommandError(f"There is no source {source}; HOOKLINE_SOURCES has {', '.join(settings.HOOKLINE_SOURCES)}.")
    sources = settings.HOOKLINE_SOURCES if source is None else [source]
    found = [access for each in sources for access in hooks_of(each)]
    if not found:
        raise CommandError(
            "No log can be read: give GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY, or GITHUB_HOOKS and GITHUB_API_TOKEN "
            "(docs/github.md).",
            returncode=NO_CREDENTIALS_STATUS,
        )
    return found


def _table(found: Sequence[tuple[HookAccess, LogPass | None]], mode: str) -> Any:
    figures = ("entries", "asked" if mode == LogPass.Mode.REDELIVER else "recovered", "lost", "calls")
    header = ("source", "hook", "pass", *figures)
    rows = [(access.source, access.hook, *_cells(one, figures)) for access, one in found]
    return table(header, rows, numbers=range(3, len(header)))


def _cells(one: LogPass | None, figures: Sequence[str]) -> list[str]:
    if one is None:
        return ["busy", *("-" for _ in figures)]
    return [one.state, *(f"{getattr(one, name):,}" for name in figures)]


def _as_json(access: HookAccess, one: LogPass | None) -> dict[str, Any]:
    named = {"source": access.source, "hook": access.hook}
    if one is None:
        return {**named, "state": "busy", "reason": BUSY}
    moments = {name: at.isoformat() if (at := getattr(one, name)) else None for name in MOMENTS}
    figures = {name: getattr(one, name) for name in FIGURES}
    return {**named, "pass": one.pk, "mode": one.mode, "state": one.state, "reason": one.reason, **moments, **figures}


def _ignore(_going: LogPass) -> None:
    """Show nothing."""


def _moment(given: str) -> datetime:
    at = parse_datetime(given)
    if at is None:
        raise ValueError(given)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at > timezone.now():
        raise ValueError(given)
    return at
