"""One handler, which says that it has started and runs until it is let go: by files in the folder SLOW_BOT_FOLDER."""

import os
import time
from pathlib import Path

from webhooks import Event, on


@on("star", time_limit=120)
def slow(event: Event) -> str:
    folder = Path(os.environ["SLOW_BOT_FOLDER"])
    (folder / "started").touch()
    while not (folder / "released").exists():
        time.sleep(0.05)
    return "finished"
