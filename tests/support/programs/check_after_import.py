"""Prints what the check of subscriptions says once the named module is imported; with "again", imported twice."""

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
