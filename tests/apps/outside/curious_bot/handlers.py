"""A handler that tells what its process started with, and what it holds by now."""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from django.db import connections

from webhooks import Event, on

at_fork: dict[str, Any] = {}
"""What the parent was at its last fork: a child finds it here, as it inherits all that the parent has."""


def remember() -> None:
    at_fork["modules"] = set(sys.modules)
    at_fork["connected"] = any(used.connection is not None for used in connections.all(initialized_only=True))


os.register_at_fork(before=remember)


@on("repository_dispatch", actions=["tell"], time_limit=30)
def tell(event: Event) -> str:
    told = {
        "pid": os.getpid(),
        "frozen": gc.get_freeze_count(),
        "in sight": len(gc.get_objects()),
        "immortal": sys.getrefcount(tell) > 2**30,
        "connected at fork": at_fork["connected"],
        "imported since": sorted(set(sys.modules) - at_fork["modules"]),
    }
    with Path(os.environ["TRIAL_EFFECTS"]).open("a") as effects:
        effects.write(json.dumps(told) + "\n")
    return "told"
