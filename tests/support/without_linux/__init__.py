"""Runs programs of ours without what only Linux has: handlers are written on macOS too.

`sitecustomize.py` beside this says what is taken away from Python, and `bin/` from the shell: its `date`, `sed`,
`mktemp` and others refuse what only GNU's take.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def without_linux(*python_path: str | Path) -> dict[str, str]:
    """Return the variables with which each Python process, and each script, finds no more than on macOS."""
    return {
        "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, *python_path))),
        "PATH": os.pathsep.join((str(FOLDER / "bin"), os.environ["PATH"])),
    }
