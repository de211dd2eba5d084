"""Events for tests: a sample's payload with changed values, and the values that a delivery adds."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from webhooks.github import samples
from webhooks.github.payload import summarise
from webhooks.github.sender import SAMPLE_HOOK_ID
from webhooks.subscriptions.event import Event

SOURCE = "github"


def event(name: str, /, *, payload: Mapping[str, Any] | None = None, **overrides: Any) -> Event:
    """Return an event as a handler gets it: the sample of this name, with changed values.

    An override is a member of the payload, such as `action="opened"`. An object is merged into the sample's, and a
    dotted name changes one value inside it: `**{"pull_request.user.login": "ana"}`. Every other value, also a list,
    replaces the sample's. `payload` is used instead of the sample; events without a sample need one. To change a value
    of the event itself, such as its `source`, use `dataclasses.replace`.
    """
    content = payload_of(name, payload, overrides)
    said = summarise(content)
    guid = str(uuid.uuid4())
    return Event(
        name=name,
        action=said.action,
        payload=content,
        delivery=guid,
        source=SOURCE,
        hook_id=SAMPLE_HOOK_ID,
        repository=said.repository,
        installation_id=said.installation_id,
        sender=said.sender,
        received_at=datetime.now(UTC),
        idempotency_key=f"{SOURCE}:{SAMPLE_HOOK_ID}:{guid}:test",
    )


def payload_of(name: str, payload: Mapping[str, Any] | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload, or the sample if none is given, with the overrides. LookupError if there is no sample."""
    content = samples.load(name) if payload is None else dict(payload)
    for path, value in overrides.items():
        content = _merged(content, _nested(path, value))
    return content


def _nested(path: str, value: Any) -> Mapping[str, Any]:
    """Turn `a.b` and a value into `{"a": {"b": value}}`."""
    first, dot, rest = path.partition(".")
    return {first: _nested(rest, value) if dot else value}


def _merged(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(mine)
    for name, value in other.items():
        if isinstance(value, Mapping):
            before = result.get(name)
            value = _merged(before if isinstance(before, Mapping) else {}, value)  # noqa: PLW2901
        result[name] = value
    return result
