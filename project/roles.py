"""Which role a process has, and which of the guarded variables it uses: it asks for no others, and keeps no others.

A worker runs the team's code on what strangers have sent. What it does not hold, no handler can give away: neither the
webhook secrets, with which deliveries are forged, nor SECRET_KEY, with which sessions of the admin are.
"""

import os
from collections.abc import Mapping

from webhooks.source_secrets import listed_name

EVERYTHING = "all"
"""The role of whatever is none of the others, such as `manage.py check`: it uses all there is."""
USED: Mapping[str, frozenset[str]] = {
    "receiver": frozenset({"ALLOWED_HOSTS", "BROKER_URL", "DATABASE_URL", "GITHUB_WEBHOOK_SECRETS", "SECRET_KEY"}),
    "relay": frozenset({"BROKER_URL", "DATABASE_URL"}),
    "worker": frozenset({"BROKER_URL", "DATABASE_URL"}),
    "flower": frozenset({"BROKER_URL", "HOOKLINE_OPERATOR_PASSWORD"}),
    "migrate": frozenset({"DATABASE_URL"}),
}
ROLES = (*USED, EVERYTHING)
GUARDED = frozenset(
    {"BROKER_URL", "DATABASE_URL", "GITHUB_WEBHOOK_SECRETS", "HOOKLINE_OPERATOR_PASSWORD", "SECRET_KEY"}
)

_AS: Mapping[str, str] = {
    **dict.fromkeys(("changepassword", "createsuperuser", "dbshell", "prune", "showmigrations"), "migrate"),
    **dict.fromkeys(("inbox", "stop_workers"), "relay"),
}
"""Commands that people run in any pod, by the role that uses no less than they do."""


def role_of(command: str) -> str | None:
    """Return the role of a command of `manage.py`; None if it has none of its own."""
    return command if command in USED else _AS.get(command)


def uses(role: str, variable: str) -> bool:
    """Tell whether a role uses one of the guarded variables."""
    return role == EVERYTHING or listed_name(variable) in USED[role]


def withhold(role: str) -> None:
    """Take out of this process's environment, and of those that it starts, what the role does not use."""
    for name in list(os.environ):
        variable = name.removesuffix("_FILE")
        if listed_name(variable) in GUARDED and not uses(role, variable):
            del os.environ[name]
