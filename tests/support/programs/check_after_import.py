"""Prints what the check of subscriptions says after one more module was imported, and imported again if asked.

python -m tests.support.programs.check_after_import MODULE [again]
"""

import importlib
import sys

import django


def main(module: str, again: str = "") -> None:
    imported = importlib.import_module(module)
    if again:
        importlib.reload(imported)
    from webhooks.subscriptions.checks import check_subscriptions

    for error in check_subscriptions():
        print(error.msg)


if __name__ == "__main__":
    django.setup()
    main(*sys.argv[1:])
