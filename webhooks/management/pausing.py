"""What the commands `pause` and `resume` have in common: how they name a queue or a handler."""

from django.core.management.base import CommandParser

from webhooks.inbox import due, pauses
from webhooks.subscriptions.installed import installed_subscriptions

KINDS = ("queue", "handler")


def add_names(parser: CommandParser) -> None:
    parser.add_argument("kind", choices=KINDS, help="What NAME is.")
    parser.add_argument("name", metavar="NAME", help="For example default, or acme.greet.")


def is_known(kind: str, name: str) -> bool:
    """Tell whether a name is installed, or has waiting jobs or a pause."""
    installed = installed_subscriptions()
    if kind == "queue":
        return name in installed.queues or name in due.waiting_queues() or name in pauses.paused().queues
    return installed.get(name) is not None or name in pauses.paused().handlers
