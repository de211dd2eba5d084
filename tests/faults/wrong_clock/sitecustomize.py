"""Lets a Python under libfaketime sleep. Python imports this file at its start.

libfaketime 0.9.10 refuses, with EINVAL, to sleep until a moment of the monotonic clock, if it is not to change that
clock; and so does `time.sleep` since Python 3.11.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = sleep
