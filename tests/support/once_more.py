"""Runs the few tests that failed in the whole suite a second time, by themselves.

Four processes of tests share the machine's cores, and each starts programs. A test that only wants for time then
passes by itself; a test that shows a fault fails again. `python -m tests.support.once_more STATUS`, with the suite's
exit status, in the folder of its cache. What passes only the second time is named at the end, to be mended.
"""

import json
import sys
from pathlib import Path

import pytest

MOST_FILES = 3
"""With failures in more files than this, the machine is not the reason. What one file's tests share fails them all."""
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def failed_tests(status: int) -> list[str]:
    """Return the tests that are to be run once more: none if the suite did not come to its end."""
    if status != pytest.ExitCode.TESTS_FAILED or not FAILED.exists():
        return []
    names = sorted(json.loads(FAILED.read_text()))
    files = {name.partition("::")[0] for name in names}
    return names if len(files) <= MOST_FILES else []


def main(status: int) -> int:
    names = failed_tests(status)
    if not names:
        return status
    print(f"Once more, by themselves, what failed beside others: {', '.join(names)}", flush=True)
    again = int(pytest.main(["-p", "no:cacheprovider", *names]))
    if not again:
        print(f"FAILED BESIDE OTHERS, passed alone; make them steady: {', '.join(names)}", flush=True)
    return again


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
