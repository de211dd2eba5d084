"""A handler that tells all that its process, and the one that forked it, were given."""

import os
from pathlib import Path

from django.conf import settings

from webhooks import Event, on


@on("repository_dispatch", actions=["tell"])
def tell(event: Event) -> str:
    own = [repr(dict(os.environ)), repr({name: getattr(settings, name) for name in dir(settings)})]
    given = [Path(f"/proc/{pid}/environ").read_text() for pid in (os.getpid(), os.getppid())]
    with Path(os.environ["TRIAL_EFFECTS"]).open("w") as effects:
        effects.write("\n".join([*own, *given, "end"]))
    return "told"
