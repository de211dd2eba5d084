"""Prints each subscription with its queue, its events and whether it takes the run, as JSON by name."""

import json

import django


def main() -> None:
    from webhooks.subscriptions.installed import installed_subscriptions

    print(json.dumps({s.name: [s.queue, sorted(s.events), s.takes_run] for s in installed_subscriptions()}))


if __name__ == "__main__":
    django.setup()
    main()
