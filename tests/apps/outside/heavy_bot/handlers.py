"""Handlers in a process that holds 160 MB from its start, one of which keeps as much again."""

import os
from pathlib import Path

from webhooks import Event, on

SIZE = 160 * 1024 * 1024
loaded = [b"\1" * SIZE]


def tell(word: str) -> str:
    with Path(os.environ["TRIAL_EFFECTS"]).open("a") as effects:
        effects.write(f"{word} {os.getpid()}\n")
    return word


@on("repository_dispatch", actions=["look"])
def look(event: Event) -> str:
    return tell("look")


@on("repository_dispatch", actions=["keep"])
def keep(event: Event) -> str:
    loaded.append(b"\2" * SIZE)
    return tell("keep")


@on("repository_dispatch", actions=["use"])
def use(event: Event) -> str:
    """Take as much for a while, and give it back."""
    (b"\3" * SIZE).count(b"\3", 0, 1)
    return tell("use")
