"""Immortal objects: a child reads what its parent has loaded without writing a reference count into it.

CPython keeps an object's reference count inside the object. So a call of a function writes to the page that holds the
function, and the child gets a copy of the page. Since 3.12 the count of an immortal object is never changed, and the
object is never freed: https://peps.python.org/pep-0683/. CPython makes some of its own objects immortal, but has no API
to do so with others; here they get the count that None has. First it is checked that the interpreter keeps counts in
this way; otherwise nothing is done. HOOKLINE_IMMORTAL=off switches this off.
"""

import gc
import sys
import sysconfig
import types
from ctypes import c_uint32

FIRST_VERSION = (3, 12)
LEAST_IMMORTAL = 1 << 30
"""No object has so many references; the counts of immortal objects are higher, on 64 bits in all versions."""
RUNNING = (types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
"""Objects that end before the process does, and must then release what they refer to."""


def make_immortal() -> int:
    """Make all loaded objects immortal, and return how many these are; 0 if that cannot be done.

    Call it once, before the first fork. These objects are never freed afterwards.
    """
    if not can_be_immortal():
        return 0
    immortal = _count_of(None).value
    made = 0
    for tracked in gc.get_objects():
        # Not isinstance: it reads an object's __class__, which makes a lazy object load what it stands for.
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
    """Return the referents that the collector does not track: strings, numbers, code, and tuples of only these."""
    if type(thing) is types.CodeType:  # The collector does not look into code objects.
        return [thing.co_consts]
    return [one for one in gc.get_referents(thing) if not gc.is_tracked(one)]


def can_be_immortal() -> bool:
    """Tell whether this interpreter has immortal objects, and keeps reference counts in the place read here."""
    if sys.implementation.name != "cpython" or sys.version_info < FIRST_VERSION or sys.byteorder != "little":
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or _count_of(None).value < LEAST_IMMORTAL:
        return False
    tried = object()
    return _grows(tried, by=5) and _make(tried, _count_of(None).value) and _grows(tried, by=0)


def _grows(thing: object, *, by: int) -> bool:
    """Tell whether five more references to a thing change its count by `by`."""
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
    """Return the reference count of `thing` in memory: the first word of each object."""
    return c_uint32.from_address(id(thing))
