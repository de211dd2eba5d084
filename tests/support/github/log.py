"""The deliveries of one hook as GitHub logs them, and the hook's sending to its receiver."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import urllib3

from webhooks.github.payload import JSON
from webhooks.github.signature import sign

KEPT = timedelta(days=3)
SECRET = "the secret that the hook signs with"
FAILED_TO_CONNECT = 502, "failed to connect to host"

_http = urllib3.PoolManager(maxsize=8, retries=False)
_ids = count(17_000_000_001, 7)


@dataclass(kw_only=True)
class Entry:
    """One attempt to deliver, as the log's list shows it, and what only its own page shows."""

    guid: str
    event: str
    action: str | None
    delivered_at: datetime
    status: str
    status_code: int
    payload: Any
    headers: Mapping[str, Any] | None
    redelivery: bool = False
    duration: float = 0.27
    installation_id: int | None = None
    repository_id: int | None = None
    throttled_at: datetime | None = None
    url: str = ""
    is_gone: bool = False
    """Whether its own page answers 404, though the list still has it."""
    id: int = field(default_factory=lambda: next(_ids))

    def in_list(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": _moment(self.delivered_at),
            "redelivery": self.redelivery,
            "duration": self.duration,
            "status": self.status,
            "status_code": self.status_code,
            "event": self.event,
            "action": self.action,
            "installation_id": self.installation_id,
            "repository_id": self.repository_id,
            "throttled_at": _moment(self.throttled_at) if self.throttled_at else None,
        }

    def in_full(self) -> dict[str, Any]:
        return self.in_list() | {
            "url": self.url,
            "request": {"headers": self.headers, "payload": self.payload},
            "response": {"headers": {}, "payload": ""},
        }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Hook:
    """A hook of an App, an organisation or a repository: where it sends to, and its log, the newest entry first."""

    def __init__(
        self, path: str, *, now: Callable[[], datetime], hook_id: int, target: tuple[str, int], url: str = ""
    ) -> None:
        self.path, self.url, self.hook_id, self.target, self._now = path, url, hook_id, target, now
        self.secret = SECRET
        self.created_at = now() - timedelta(days=400)
        self._entries: list[Entry] = []

    def entries(self, *, status: str = "") -> list[Entry]:
        """Return what is left of the log: GitHub keeps it for three days."""
        oldest = self._now() - KEPT
        self._entries = [entry for entry in self._entries if entry.delivered_at > oldest]
        wanted = {"success": range(200, 400), "failure": range(400, 600)}.get(status)
        return [entry for entry in self._entries if wanted is None or entry.status_code in wanted]

    def entry(self, entry_id: int) -> Entry | None:
        return next((entry for entry in self.entries() if entry.id == entry_id and not entry.is_gone), None)

    def add(self, event: str = "push", payload: Any = None, **values: Any) -> Entry:
        """Log an attempt that failed, unless `values` say otherwise; nothing is sent."""
        guid = values.pop("guid", "") or str(uuid.uuid4())
        action = payload.get("action") if isinstance(payload, Mapping) else None
        status_code, status = FAILED_TO_CONNECT
        usual: dict[str, Any] = {
            "action": action if isinstance(action, str) else None,
            "delivered_at": self._now(),
            "status": status,
            "status_code": status_code,
            "headers": self.headers(guid, event),
            "url": self.url,
        }
        entry = Entry(guid=guid, event=event, payload={} if payload is None else payload, **usual | values)
        self._entries.insert(0, entry)
        self._entries.sort(key=lambda each: (each.delivered_at, each.id), reverse=True)
        return entry

    def send(self, event: str = "push", payload: Any = None, **values: Any) -> Entry:
        """Send an event to the receiver, and log how that ended."""
        payload = {} if payload is None else payload
        guid = values.pop("guid", "") or str(uuid.uuid4())
        status_code, status = self._post(guid, event, payload)
        return self.add(event, payload, guid=guid, status_code=status_code, status=status, **values)

    def send_again(self, entry: Entry) -> Entry:
        return self.send(entry.event, entry.payload, guid=entry.guid, redelivery=True, action=entry.action)

    def headers(self, guid: str, event: str) -> dict[str, Any]:
        kind, number = self.target
        return {
            "Accept": "*/*",
            "User-Agent": "GitHub-Hookshot/5a3b1e7",
            "content-type": JSON,
            "X-GitHub-Delivery": guid,
            "X-GitHub-Event": event,
            "X-GitHub-Hook-ID": str(self.hook_id),
            "X-GitHub-Hook-Installation-Target-ID": str(number),
            "X-GitHub-Hook-Installation-Target-Type": kind,
        }

    def _post(self, guid: str, event: str, payload: Any) -> tuple[int, str]:
        if not self.url:
            return FAILED_TO_CONNECT
        body = json.dumps(payload).encode()
        headers = self.headers(guid, event) | {"X-Hub-Signature-256": sign(body, self.secret)}
        try:
            answer = _http.request("POST", self.url, body=body, headers=headers, timeout=10)
        except urllib3.exceptions.HTTPError:
            return FAILED_TO_CONNECT
        return answer.status, "OK" if answer.status < 400 else f"Invalid HTTP Response: {answer.status}"
