"""`python -m tests.faults [CASE ...]`: run the fault suite and print its table. Exit status 1 if a case failed."""

import argparse
import signal
import sys
from dataclasses import replace

from tests.faults.scene import BROKERS, FULL, Result
from tests.faults.suite import CASES, run_all
from tests.faults.table import lines

EVERYWHERE = (*BROKERS, "filesystem")


def main() -> int:
    options = read_options()
    # So that whoever ends the suite ends its servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [case for case in CASES if not options.cases or case.number in options.cases]
    pace = replace(FULL, load_seconds=options.seconds, rate=options.rate or FULL.rate, seed=options.seed)
    results = []
    for result in run_all(chosen, options.broker or EVERYWHERE, pace, measured=options.rate is None):
        announce(result)
        results.append(result)
    print("\n".join(lines(results)))
    return int(any(result.failures for result in results))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("cases", nargs="*", type=int, metavar="CASE", help="numbers of cases; all by default")
    parser.add_argument("--broker", action="append", choices=EVERYWHERE, help="only on this one; may be given twice")
    parser.add_argument("--seconds", type=float, default=FULL.load_seconds, help="how long the load runs at least")
    parser.add_argument(
        "--rate", type=float, help="deliveries a second; by default 100, or half of what the machine carries if less"
    )
    parser.add_argument("--seed", type=int, default=0, help="what everything random is drawn from")
    return parser.parse_args()


def announce(result: Result) -> None:
    verdict = result.not_run or ("FAILED: " + " | ".join(result.failures) if result.failures else "ok")
    print(f"{result.number:>3} {result.name} on {result.broker}, {result.seconds:.0f} s: {verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
