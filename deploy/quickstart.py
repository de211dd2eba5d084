"""`python -m deploy.quickstart`: `make run` once the environment exists. The work is in `deploy/startup.py`."""

import sys

from deploy.terminal import StopRequests, own_process_group


def main() -> int:
    with own_process_group():
        requests = StopRequests()
        # From here on Ctrl-C is a request, also while the imports take their half second.
        from deploy.startup import run

        return run(requests)


if __name__ == "__main__":
    sys.exit(main())
