"""Hands a secret to the program that this process becomes, so that it stands in no variable and not in /proc.

What a program is started with can be read in /proc/<pid>/environ as long as it lives, by its children too: a worker's
run handlers. So `manage.py worker` takes the secret out of its environment, and Celery's worker, which it becomes,
reads it from a pipe, once. Its variable then names an empty pipe.
"""

import contextlib
import os
from collections.abc import Iterable

_PIPES = "/dev/fd/"


def hand_over(name: str, values: Iterable[str]) -> None:
    """Put a list where the next program reads the variable `name`, and only once. Call it just before exec."""
    text = ",".join(values)
    if not text:
        return
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    with os.fdopen(writing, "w") as pipe:
        pipe.write(text)
    os.environ[f"{name}_FILE"] = f"{_PIPES}{reading}"


def forget(name: str) -> None:
    """Take a variable that has been read out of the environment, and close its pipe if it came by one."""
    os.environ.pop(name, None)
    path = os.environ.pop(f"{name}_FILE", "")
    if path.startswith(_PIPES):
        with contextlib.suppress(OSError):
            os.close(int(path.removeprefix(_PIPES)))
