"""`python -m tests.fuzz`: bombard a receiver of its own, on the embedded default. Exit status 1 if anything was found.

python -m tests.fuzz --count 100000 --seed 7
python -m tests.fuzz --seed 7 --only 4711
"""

import argparse
import os
import signal
import sys
import tempfile
import time

import django

from tests.support.processes import environment_without_settings


def main() -> int:
    options = read_options()
    # So that whoever ends the fuzz ends its receiver too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hookline-fuzz-") as directory:
        set_up(directory)
        return bombard(options)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what every input is drawn from")
    parser.add_argument("--count", type=int, default=100_000, help="how many inputs")
    parser.add_argument("--seconds", type=float, default=1200.0, help="stop after this time at the latest")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send this one input of the seed, and no other")
    return parser.parse_args()


def set_up(directory: str) -> None:
    """Load Django with no settings of the developer's."""
    kept = environment_without_settings(os.environ)
    os.environ.clear()
    os.environ.update(kept, DJANGO_SETTINGS_MODULE="project.settings", HOOKLINE_DATA_DIR=directory)
    django.setup()


def bombard(options: argparse.Namespace) -> int:
    # They need Django.
    from django.core.management import call_command

    from tests.fuzz.receiver import APP, Fuzz, directory
    from tests.support.receiver_process import receiver_in

    call_command("migrate", verbosity=0)  # What is read of payloads is found out by running the bundled handlers.
    with directory() as own, receiver_in(own, HOOKLINE_APPS=APP) as receiver:
        numbers = range(options.count) if options.only is None else [options.only]
        report = Fuzz(receiver, seed=options.seed).run(numbers, seconds=options.seconds)
    print(report)
    print("inputs by what they are:", ", ".join(f"{kind} {count:,}" for kind, count in report.kinds.most_common()))
    print(*report.findings, sep="\n")
    print(f"{len(report.findings)} findings")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
