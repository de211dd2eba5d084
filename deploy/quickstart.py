"""`python -m deploy.quickstart [APPS] [DIR]`: `make run` once the environment exists. See deploy/startup.py."""

import sys

from deploy.own_apps import OwnAppsError, folder_of, use
from deploy.terminal import StopRequests, own_process_group


def main(apps: str = "", folder: str = "") -> int:
    with own_process_group():
        requests = StopRequests()
        try:
            use(apps, folder_of(folder))
        except OwnAppsError as error:
            sys.stdout.write(f"hookline: {error}\n")
            return 1
        # `requests` counts Ctrl-C already, so that it is not lost during this import, which takes half a second.
        from deploy.startup import run

        return run(requests)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
