"""Prints the names of lost_bot's subscriptions as JSON, and what the one that is wrapped twice returns."""

import json

import django


def main() -> None:
    from webhooks.subscriptions.installed import installed_subscriptions

    print(json.dumps([s.name for s in installed_subscriptions() if s.name.startswith("lost_bot")]))
    wrapped = installed_subscriptions().get("lost_bot.found_wrapped")
    assert wrapped is not None
    print(wrapped.handler("event"))


if __name__ == "__main__":
    django.setup()
    main()
