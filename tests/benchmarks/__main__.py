"""Runs the benchmarks of speed and use, one after the other: `python -m tests.benchmarks [NAME ...]`.

Each is a module of its own that can be told more: `python -m tests.benchmarks.NAME --help`.
"""

import argparse
import subprocess
import sys

from tests.support.processes import ROOT

NAMES = ("acknowledge", "work_off", "both", "start", "idle", "memory", "burst", "fairness")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    failed = [name for name in parser.parse_args().names if run(name)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def run(name: str) -> int:
    return subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    main()
