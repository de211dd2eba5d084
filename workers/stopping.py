"""Whether this worker has been told to stop, for the children too: a byte of memory that parent and children share."""

import mmap

_flag = mmap.mmap(-1, 1)


def mark_stopping() -> None:
    _flag[0] = 1


def is_stopping() -> bool:
    """Tell, in the worker or any of its children, whether it takes no more jobs."""
    return _flag[0] == 1
