"""Sample payloads, one for each event family: invented, in the shape that GitHub sends."""

import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parent


def names() -> list[str]:
    """Return the names of the events that have a sample, sorted."""
    return sorted(file.stem for file in DIRECTORY.glob("*.json"))


def load(event: str) -> dict[str, Any]:
    """Return an event's sample payload. Raises LookupError for an event without one."""
    if event not in names():
        raise LookupError(f"There is no sample of {event!r}.")
    payload: dict[str, Any] = json.loads((DIRECTORY / f"{event}.json").read_text(encoding="utf-8"))
    return payload
