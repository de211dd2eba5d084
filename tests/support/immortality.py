"""What `processes/immortal.py` does, told as JSON by an interpreter of its own: nothing makes an object mortal again.

    python tests/support/immortality.py

Needs no package but Hookline's own, so that any Python on the machine can run it.
"""

import gc
import json
import os
import re
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from workers.processes import immortal


class Handler:
    """Loaded before the fork, with a constant of its own."""

    retries = 1_234_567_890_123

    def run(self) -> str:
        return "a constant, with blanks in it"


def numbers() -> Iterator[int]:
    yield 1
    yield 2


class Lazy:
    """A proxy that makes what it stands for when it is asked for its class, and cannot."""

    @property  # type: ignore[misc]  # As Django's lazy objects have it.
    def __class__(self) -> Any:
        raise RuntimeError("nobody should have asked")


LOADED = [Handler() for _ in range(50_000)]
LAZY = [Lazy(), weakref.proxy(Handler())]
PLACES = {"repository": ("a tuple", ("of", 123_456_789.5))}


def is_immortal(thing: object) -> bool:
    return sys.getrefcount(thing) >= immortal.LEAST_IMMORTAL


def written_by_a_child(work: Callable[[], object]) -> int:
    """Return how many kB a forked child has of its own after the work."""
    word, its = os.pipe()
    if os.fork() == 0:
        before = private_kb()
        work()
        os.write(its, str(private_kb() - before).encode())
        os._exit(0)
    os.wait()
    return int(os.read(word, 100))


def private_kb() -> int:
    found = re.search(r"^Private_Dirty: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def look_at_all() -> int:
    """Refer to each thing that was loaded, and to nothing for long."""
    return sum(1 for one in LOADED if one is not None)


def tell() -> dict[str, Any]:
    suspended = numbers()
    next(suspended)
    gc.collect()
    told: dict[str, Any] = {"can": immortal.can_be_immortal(), "written, mortal": written_by_a_child(look_at_all)}
    told["made"] = immortal.make_immortal()
    gc.freeze()
    told["written"] = written_by_a_child(look_at_all)
    told["immortal"] = {
        "function": is_immortal(Handler.run),
        "code": is_immortal(Handler.run.__code__),
        # Not of this file, which is compiled afresh: what comes from a .pyc is referred to in fewer ways.
        "constants": all(map(is_immortal, json.JSONDecoder.decode.__code__.co_consts)),
        "class": is_immortal(Handler),
        "number": is_immortal(Handler.retries),
        "instance": is_immortal(LOADED[0]),
        "dictionary": is_immortal(PLACES),
        "nested": is_immortal(PLACES["repository"][1][1]),
        "generator": is_immortal(suspended),
        "frame": is_immortal(sys._getframe()),
    }
    told["made again"] = immortal.make_immortal()
    later = Handler()
    seen = weakref.ref(later)
    del later
    told["later ones are freed"] = seen() is None
    return told


if __name__ == "__main__":
    print(json.dumps(tell()))
