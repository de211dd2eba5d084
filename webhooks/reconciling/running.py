"""Runs passes over one hook's log: first the one that was killed or stopped, then one from the newest entry on."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from webhooks.github_api.access import HookAccess
from webhooks.models import HookLog, LogPass
from webhooks.reconciling import passes
from webhooks.reconciling.api import LogApi
from webhooks.reconciling.client import Client, Wait
from webhooks.reconciling.errors import ApiError, StoppedError
from webhooks.reconciling.healing import Healer
from webhooks.reconciling.passes import Held
from webhooks.reconciling.walk import walk

RENEW_SECONDS = 10.0
State = LogPass.State
Watch = Callable[[LogPass], None]
"""Is shown a pass as it goes on."""

logger = logging.getLogger(__name__)


class BusyError(Exception):
    """Another process reads this log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person asked for."""

    mode: str = LogPass.Mode.RECOVER
    since: datetime | None = None
    is_dry_run: bool = False


def reconcile(access: HookAccess, options: Options, *, wait: Wait, watch: Watch = lambda _: None) -> list[LogPass]:
    """Read a hook's log and heal what is missing; return the passes, the last one at the end.

    Raises BusyError, and Django's errors: the pass is then gone on with by whoever reads the log next.
    """
    if options.is_dry_run:
        return [_dry_run(access, options, wait=wait, watch=watch)]
    held = passes.hold(passes.log_of(access))
    if held is None:
        raise BusyError
    try:
        return _all_of(held, access, options, wait=wait, watch=watch)
    except StoppedError:  # Not by a stop, which ends the pass in order: another process has taken the log over.
        raise BusyError from None
    finally:
        held.release()


def _all_of(held: Held, access: HookAccess, options: Options, *, wait: Wait, watch: Watch) -> list[LogPass]:
    done = []
    killed = passes.unfinished(held.log, options.mode)
    with Client(access, wait=wait, alive=_Renewal(held)) as client:
        if killed is not None:
            done.append(_run(killed, held, LogApi(access, client), watch=watch))
        if killed is None or killed.state != State.STOPPED:
            new = passes.begin(held.log, options.mode, since=options.since)
            new.save()
            new.refresh_from_db()
            done.append(_run(new, held, LogApi(access, client), watch=watch))
    return done


class _Renewal:
    """Holds the log for longer, now and then."""

    def __init__(self, held: Held) -> None:
        self._held, self._renewed_at = held, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._renewed_at > RENEW_SECONDS:
            self._held.renew()
            self._renewed_at = time.monotonic()


def _run(going: LogPass, held: Held, api: LogApi, *, watch: Watch) -> LogPass:
    """Bring a pass to its end, or as far as GitHub lets it."""
    before, made = going.calls, api.calls

    def save() -> None:
        going.calls = before + api.calls - made
        passes.count_misses(going)
        passes.save(held, going)
        watch(going)

    going.state, going.reason, going.log = State.RUNNING, "", held.log
    healer = Healer(going, api, log=held.log, held=held)
    try:
        healer.retry()
        faults = walk(going, api, heal=healer.heal, save=save)
    except ApiError as error:
        return _stop(going, held, save, f"GitHub {error}")
    except StoppedError:
        return _stop(going, held, save, "it was asked to stop")
    save()
    faults += _in_words(going)
    passes.finish(held, going, state=State.INCOMPLETE if faults else State.COMPLETE, reason="; ".join(faults))
    _log(going, access_words=str(held.log))
    return going


def _stop(going: LogPass, held: Held, save: Callable[[], None], reason: str) -> LogPass:
    save()
    passes.finish(held, going, state=State.STOPPED, reason=reason)
    _log(going, access_words=str(held.log))
    return going


def _in_words(going: LogPass) -> list[str]:
    said = []
    if going.lost:
        said.append(f"{_deliveries(going.lost)} cannot be recovered")
    if going.unfetched:
        said.append(f"{_deliveries(going.unfetched)} to be tried again by the next pass")
    return said


def _deliveries(count: int) -> str:
    return f"{count:,} {'delivery' if count == 1 else 'deliveries'}"


def _log(going: LogPass, *, access_words: str) -> None:
    figures = {name: getattr(going, name) for name in ("entries", "recovered", "asked", "lost", "unfetched", "calls")}
    level = logging.INFO if going.state == State.COMPLETE else logging.WARNING
    extra = {"log": access_words, "state": going.state, "reason": going.reason, **figures}
    logger.log(level, "GitHub's log read", extra=extra)


def _dry_run(access: HookAccess, options: Options, *, wait: Wait, watch: Watch) -> LogPass:
    log = HookLog.objects.filter(source=access.source, hook=access.hook).first() or HookLog(
        source=access.source, hook=access.hook, hook_id=access.known_hook_id
    )
    going = passes.begin(log, options.mode, since=options.since)
    with Client(access, wait=wait) as client:
        api = LogApi(access, client)
        healer = Healer(going, api, log=log, held=None)
        try:
            faults = walk(going, api, heal=healer.heal, save=lambda: watch(going))
        except (ApiError, StoppedError) as error:
            going.state, going.reason = State.STOPPED, f"GitHub {error}" if str(error) else "it was asked to stop"
        else:
            going.state, going.reason = State.INCOMPLETE if faults else State.COMPLETE, "; ".join(faults)
        going.calls = api.calls
    return going
