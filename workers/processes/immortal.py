"""Immortal objects: a child reads what its parent has loaded without writing a reference count into it.

CPython counts references inside the object, so to call a function is to write to the page that holds it, and a child
then has a copy of the page. Since 3.12 an immortal object's count is left alone, and it is never freed:
https://peps.python.org/pep-0683/. CPython makes some of its own objects so and has no call for others; theirs gets the
count that None has. An interpreter that keeps counts in another way is recognised first, and left alone.
HOOKLINE_IMMORTAL=off switches this off.
"""

import gc
import sys
import sysconfig
import types
from ctypes import c_uint32

FIRST_VERSION = (3, 12)
LEAST_IMMORTAL = 1 << 30
"""No object is referred to so often; the counts of immortal ones are above it, in 64 bits in all versions."""
RUNNING = (types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
"""What ends before the process does, and must then let go of what it holds."""


def make_immortal() -> int:
    """Make all that the process has loaded immortal, and return how many objects; 0 where that cannot be done.

    Call it once, before the first fork. What is dropped later is not freed.
    """
    if not can_be_immortal():
        return 0
    immortal = _count_of(None).value
    made = 0
    for tracked in gc.get_objects():
        # Not isinstance: that asks an object for its __class__, and a lazy one then makes itself.
        if type(tracked) in RUNNING:
            continue
        made += _make(tracked, immortal)
        pending = _untracked(tracked)
        while pending:
            one = pending.pop()
            if _make(one, immortal):
                made += 1
                pending += _untracked(one)
    return made


def _untracked(thing: object) -> list[object]:
    """Return what a thing refers to that the collector does not know: strings, numbers, code, what holds only these."""
    if type(thing) is types.CodeType:  # Into which the collector does not look.
        return [thing.co_consts]
    return [one for one in gc.get_referents(thing) if not gc.is_tracked(one)]


def can_be_immortal() -> bool:
    """Tell whether this interpreter has immortal objects, and counts references where we believe it does."""
    if sys.implementation.name != "cpython" or sys.version_info < FIRST_VERSION or sys.byteorder != "little":
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or _count_of(None).value < LEAST_IMMORTAL:
        return False
    tried = object()
    return _grows(tried, by=5) and _make(tried, _count_of(None).value) and _grows(tried, by=0)


def _grows(thing: object, *, by: int) -> bool:
    """Tell whether five more references to a thing change its count by so much."""
    before = _count_of(thing).value
    others = [thing] * 5
    return bool(others) and _count_of(thing).value - before == by


def _make(thing: object, immortal: int) -> bool:
    count = _count_of(thing)
    if count.value >= LEAST_IMMORTAL:
        return False
    count.value = immortal
    return True


def _count_of(thing: object) -> c_uint32:
    """Return the word in memory that holds how often `thing` is referred to: the first of each object."""
    return c_uint32.from_address(id(thing))
