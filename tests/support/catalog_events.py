"""Events as a worker hands them to the bundled handlers, made from the samples."""

import uuid
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from webhooks.github import samples
from webhooks.github.payload import summarise
from webhooks.subscriptions.event import Event
from workers.catalog import handlers

NOON = datetime(2026, 10, 10, 12, tzinfo=UTC)
HANDLERS: dict[str, Callable[[Event], str | None]] = {
    "ping": handlers.mark_hook_live,
    "installation": handlers.record_installation,
    "installation_repositories": handlers.record_installation_repositories,
    "repository": handlers.record_repository,
    "push": handlers.request_scans,
    "installation_target": handlers.rename_account,
    "organization": handlers.rename_account,
}
RENAMED: dict[str, dict[str, Any]] = {
    "installation_target": {
        "action": "renamed",
        "account": {"id": 9001, "login": "apex", "type": "Organization"},
        "changes": {"login": {"from": "acme"}},
        "installation": {"id": 51000123},
        "target_type": "Organization",
    },
    "organization": {
        "action": "renamed",
        "organization": {"id": 9001, "login": "apex"},
        "changes": {"login": {"from": "acme"}},
        "installation": {"id": 51000123},
    },
}


def payload_of(name: str) -> dict[str, Any]:
    return deepcopy(RENAMED[name]) if name in RENAMED else samples.load(name)


def event(name: str, payload: dict[str, Any] | None = None, *, second: int = 0, source: str = "github") -> Event:
    """Return an event as the worker hands it to a handler, received `second` seconds after noon."""
    payload = payload_of(name) if payload is None else payload
    guid, told = str(uuid.UUID(int=second)), summarise(payload)
    return Event(
        name=name,
        action=told.action,
        payload=payload,
        delivery=guid,
        source=source,
        hook_id=512340001,
        repository=told.repository,
        installation_id=told.installation_id,
        sender="ana-example",
        received_at=NOON + timedelta(seconds=second),
        idempotency_key=f"{name}:{guid}",
    )


def handle(*events: Event) -> list[str | None]:
    return [HANDLERS[one.name](one) for one in events]


def changed(name: str, *, action: str = "", **changes: dict[str, Any]) -> dict[str, Any]:
    """Return a sample with another action and other values in its objects."""
    payload = samples.load(name)
    if action:
        payload["action"] = action
    for key, values in changes.items():
        payload[key].update(values)
    return payload


def installation(action: str, *, second: int, updated: str = "2026-10-01T10:15:02.000Z", **values: Any) -> Event:
    payload = changed("installation", action=action, installation={"updated_at": updated, **values})
    if action not in ("created", "deleted"):
        del payload["repositories"]
    return event("installation", payload, second=second)


def listed(action: str, *, second: int, installation_id: int = 51000123, **names: int) -> Event:
    """Return an installation_repositories event for repositories given as name=id."""
    briefs = [
        {"id": number, "name": name, "full_name": f"acme/{name}", "private": False} for name, number in names.items()
    ]
    payload = changed("installation_repositories", action=action, installation={"id": installation_id})
    payload.update(repositories_added=[], repositories_removed=[])
    payload[f"repositories_{action}"] = briefs
    return event("installation_repositories", payload, second=second)


def repository(action: str, *, second: int, updated: str, **values: Any) -> Event:
    payload = changed("repository", action=action, repository={"updated_at": updated, **values})
    return event("repository", payload, second=second)
