"""What becomes of the entries of a log that the inbox does not have: taken in, asked for again, or noted as missed."""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import Error

from webhooks.github.delivery_log import Entry, UnreadableEntryError, entry_of
from webhooks.inbox import database
from webhooks.models import HookLog, LogPass, MissedDelivery
from webhooks.reconciling import passes
from webhooks.reconciling.api import LogApi
from webhooks.reconciling.errors import RefusedError, UnavailableError
from webhooks.reconciling.passes import Held
from webhooks.reconciling.taking_in import GoneError, UnreadableError, recovered_delivery, take_in
from webhooks.subscriptions.installed import installed_subscriptions

GONE = (404, 410, 422)
NO_VALUE = 200
"""The status of an answer that was given, and could not be read."""
MOST_UNFETCHED = 3
"""After so many deliveries in a row that GitHub does not hand out, the pass stops: GitHub has a fault."""
MOST_LOOKED_UP = 5
"""So many entries of a page are looked up to learn the number of an App's hook."""
Reason = MissedDelivery.Reason

logger = logging.getLogger(__name__)


class Healer:
    """Heals the entries of one pass. Without a log that it holds, it only counts: that is a dry run."""

    def __init__(self, going: LogPass, api: LogApi, *, log: HookLog, held: Held | None) -> None:
        self._going, self._api, self._log, self._held = going, api, log, held
        self._done: set[UUID] = set()
        """Several attempts of one event count once."""
        self._unfetched = 0

    def retry(self) -> None:
        """Try the missed deliveries again that GitHub did not hand out."""
        for missed in passes.open_misses(self._log):
            try:
                entry = entry_of(self._api.detail(missed.entry_id))
            except UnavailableError:
                return  # The walk will say so.
            except (RefusedError, UnreadableEntryError) as error:
                if isinstance(error, RefusedError) and error.status not in (*GONE, NO_VALUE):
                    raise
                passes.give_up(missed)
            else:
                if self._heal(entry):
                    self._done.add(entry.guid)

    def heal(self, entries: Sequence[Entry]) -> None:
        """Heal what is missing among the entries of one page."""
        self._learn(entries)
        guids = [entry.guid for entry in entries]
        stored = passes.stored_among(guids, source=self._log.source, hook_id=self._log.hook_id)
        missing = [entry for entry in entries if entry.guid not in stored]
        left = passes.given_up(self._going, missing) if self._held else set()
        unwanted = 0
        for entry in missing:
            if entry.guid in self._done or entry.id in left:
                continue
            if not installed_subscriptions().may_match(entry.event, entry.action):
                unwanted += 1
            elif self._heal(entry):
                self._done.add(entry.guid)
        self._going.unwanted += unwanted  # Only now: a page that is broken off is walked again.

    def _learn(self, entries: Sequence[Entry]) -> None:
        """Learn the number of an App's hook, which the log does not have, from what one delivery sent."""
        for entry in entries[:MOST_LOOKED_UP] if self._log.hook_id is None else ():
            try:
                new = recovered_delivery(self._log, entry, self._api.detail(entry.id))
            except (RefusedError, UnavailableError, GoneError, UnreadableError):
                continue
            self._note_hook(new.hook_id)
            if self._log.hook_id is not None:
                return

    def _note_hook(self, hook_id: int) -> None:
        if not hook_id:  # The header was missing.
            return
        if self._held is not None:
            self._held.learn(hook_id)
        self._log.hook_id = hook_id

    def _heal(self, entry: Entry) -> bool:
        """Heal one entry; tell whether the event is done with, also for older attempts to deliver it."""
        if self._held is None:
            self._count()
            return True
        try:
            is_done = self._ask(entry) if self._going.mode == LogPass.Mode.REDELIVER else self._recover(entry)
        except UnavailableError:
            self._unfetched += 1
            passes.miss(self._log, entry, Reason.UNFETCHED)
            if self._unfetched >= MOST_UNFETCHED:
                raise
            return False
        self._unfetched = 0
        return is_done

    def _count(self) -> None:
        if self._going.mode == LogPass.Mode.REDELIVER:
            self._going.asked += 1
        else:
            self._going.recovered += 1

    def _ask(self, entry: Entry) -> bool:
        try:
            self._api.send_again(entry.id)
        except RefusedError as error:
            return self._missed(entry, error)
        self._going.asked += 1
        passes.forget_miss(self._log, entry.guid)  # If it fails again, the log has a new entry.
        return True

    def _recover(self, entry: Entry) -> bool:
        try:
            detail = self._api.detail(entry.id)
        except RefusedError as error:
            return self._missed(entry, error)
        reason = self._taken_in(entry, detail)
        if reason is not None:
            passes.miss(self._log, entry, reason)
            return False
        passes.forget_miss(self._log, entry.guid)
        return True

    def _taken_in(self, entry: Entry, detail: Any) -> Reason | None:
        """Take a delivery in; return why that is not possible."""
        try:
            new = recovered_delivery(self._log, entry, detail)
        except GoneError:
            return Reason.GONE
        except UnreadableError:
            return Reason.UNREADABLE
        self._note_hook(new.hook_id)
        try:
            database.run(lambda: take_in(new, entry, self._going))
        except Error as error:
            if database.is_outage(error):
                raise
            # The error's message is not logged, since it shows values of the row.
            logger.error("recovered delivery refused", extra={"guid": entry.guid, "error": type(error).__name__})
            return Reason.REFUSED
        return None

    def _missed(self, entry: Entry, error: RefusedError) -> bool:
        if error.status not in (*GONE, NO_VALUE):
            raise error
        passes.miss(self._log, entry, Reason.UNREADABLE if error.status == NO_VALUE else Reason.GONE)
        return False
