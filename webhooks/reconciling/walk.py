"""Walks a hook's log from the newest entry to what was seen before, and says whether that was all. No statements.

The log's end is no proof that nothing was before it: GitHub removes entries after three days. It proves that only if
the last complete pass, or the hook itself, began less than three days ago.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from webhooks.github.delivery_log import KEPT, Entry
from webhooks.models import LogPass
from webhooks.reconciling.api import LogApi, Page
from webhooks.reconciling.errors import RefusedError

OVERLAP = timedelta(minutes=2)
"""GitHub logs a delivery as it ends, under the time when it began: so long before the last pass is looked at again."""
BAD_CURSOR = (400, 404, 422)


def walk(
    going: LogPass, api: LogApi, *, heal: Callable[[Sequence[Entry]], None], save: Callable[[], None]
) -> list[str]:
    """Go on with a pass to its end; return why it is not complete. Raises ApiError, StoppedError and Django's errors.

    `heal` is given each page's entries. After each page `save` is called: from there a killed pass goes on.
    """
    faults: list[str] = []
    cursors = set()
    while True:
        page = _page(going, api)
        # The earlier one: with a mark of the future, later passes would look at nothing.
        going.until = going.until or min(page.date, datetime.now(UTC))
        if page.unreadable:
            faults.append(f"{page.unreadable:,} of a page's entries cannot be read")
        wanted = [entry for entry in page.entries if not _is_before(going, entry)]
        heal(wanted)
        _count(going, wanted)
        if page.entries and _is_before(going, page.entries[-1]):
            return faults
        if not page.cursor:
            return faults + _gap(going, api, now=page.date)
        if page.cursor in cursors:
            raise RefusedError("leads round in a circle through its log", status=200)
        cursors.add(page.cursor)
        going.cursor = page.cursor
        save()


def _page(going: LogPass, api: LogApi) -> Page:
    """Return the next page; the newest one if GitHub no longer knows where the pass was."""
    try:
        return api.page(going.cursor)
    except RefusedError as error:
        if not going.cursor or error.status not in BAD_CURSOR:
            raise
    going.cursor = ""
    return api.page()


def _is_before(going: LogPass, entry: Entry) -> bool:
    if going.since is None:
        return False
    overlap = timedelta() if going.is_asked_since else OVERLAP
    return entry.delivered_at < going.since - overlap


def _count(going: LogPass, entries: Sequence[Entry]) -> None:
    going.entries += len(entries)
    oldest = min((entry.delivered_at for entry in entries), default=going.oldest_at)
    if oldest is not None:
        going.oldest_at = min(going.oldest_at or oldest, oldest)


def _gap(going: LogPass, api: LogApi, *, now: datetime) -> list[str]:
    """Return what may have left the log before this pass came to its end."""
    kept_since = min(now - KEPT, going.oldest_at or now)
    since = going.since
    if since is None or since < kept_since:  # Before it was made, the hook sent nothing.
        since = max(filter(None, (since, api.created_at())), default=None)
    if since is not None and since >= kept_since:
        return []
    going.gap_from, going.gap_until = since, kept_since
    began = f"from {since:%Y-%m-%d %H:%M} to" if since else "before"
    return [f"what GitHub sent {began} {kept_since:%Y-%m-%d %H:%M} UTC has left its log unseen"]
