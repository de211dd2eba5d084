"""One hook's log at GitHub: its pages, what one delivery held, and asking for a redelivery."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from webhooks.github.delivery_log import Entry, UnreadableEntryError, entry_of, moment
from webhooks.github_api.access import APP, HookAccess
from webhooks.reconciling.client import Client
from webhooks.reconciling.errors import RefusedError

PAGE = 100
"""As many as GitHub gives at once."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, the newest first, and where the next ones are; no cursor at the log's end."""

    entries: Sequence[Entry]
    unreadable: int
    cursor: str
    date: datetime
    """GitHub's time."""


class LogApi:
    """The calls. All raise ApiError or StoppedError."""

    def __init__(self, access: HookAccess, client: Client) -> None:
        self._access, self._client = access, client
        self._path = f"{access.path}/deliveries"

    @property
    def calls(self) -> int:
        return self._client.calls

    def page(self, cursor: str = "") -> Page:
        answer = self._client.call("GET", self._path, per_page=PAGE, **({"cursor": cursor} if cursor else {}))
        if not isinstance(answer.value, list):
            raise RefusedError("answers with what is no list of deliveries", status=200)
        entries, unreadable = [], 0
        for value in answer.value:
            try:
                entries.append(entry_of(value))
            except UnreadableEntryError:
                unreadable += 1
        return Page(entries, unreadable, _next_cursor(answer.headers.get("Link", "")), answer.date)

    def detail(self, entry_id: int) -> Any:
        return self._client.call("GET", f"{self._path}/{entry_id}").value

    def send_again(self, entry_id: int) -> None:
        self._client.call("POST", f"{self._path}/{entry_id}/attempts")

    def created_at(self) -> datetime | None:
        """Return when the App or the hook was made, or None if GitHub does not say: it sent nothing before."""
        value = self._client.call("GET", "/app" if self._access.hook == APP else self._access.path).value
        try:
            return moment(value["created_at"])
        except (KeyError, TypeError, ValueError):
            return None


def _next_cursor(link: str) -> str:
    """Return the cursor in a Link header: https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api"""
    for part in link.split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            query = parse_qs(urlsplit(address.strip().strip("<>")).query)
            return query.get("cursor", [""])[0]
    return ""
