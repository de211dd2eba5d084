"""The roles of processes, and which of the guarded variables each role uses. A process reads and keeps no others.

A worker runs the team's code on payloads that strangers have sent. A secret that the process does not have cannot leak
from a handler: with a webhook secret deliveries could be forged, with SECRET_KEY sessions of the admin. The App's key,
which opens every repository that the App may see, is given to workers only if their handlers call GitHub's API
(decision 0018).
"""

import os
from collections.abc import Mapping

from webhooks.source_secrets import listed_name

EVERYTHING = "all"
"""The role of all other commands, such as `manage.py check`: it uses every variable."""
USED: Mapping[str, frozenset[str]] = {
    "receiver": frozenset(
        {
            *("ALLOWED_HOSTS", "BROKER_URL", "DATABASE_URL", "GITHUB_WEBHOOK_SECRETS"),
            *("HOOKLINE_DESTINATION_KEYS", "HOOKLINE_ENCRYPTION_KEYS", "HOOKLINE_OIDC_CLIENT_SECRET"),
            *("HOOKLINE_PAYLOAD_KEYS", "SECRET_KEY"),
        }
    ),
    "relay": frozenset({"BROKER_URL", "DATABASE_URL", "HOOKLINE_PAYLOAD_KEYS"}),
    "reconcile": frozenset({"DATABASE_URL", "GITHUB_API_TOKEN", "GITHUB_APP_PRIVATE_KEY", "HOOKLINE_PAYLOAD_KEYS"}),
    "worker": frozenset(
        {
            *("BROKER_URL", "DATABASE_URL", "GITHUB_APP_PRIVATE_KEY"),
            *("HOOKLINE_DESTINATION_KEYS", "HOOKLINE_PAYLOAD_KEYS"),
        }
    ),
    "pull": frozenset(
        {"BROKER_URL", "DATABASE_URL", "GITHUB_APP_PRIVATE_KEY", "HOOKLINE_PAYLOAD_KEYS", "HOOKLINE_TOKEN"}
    ),
    "flower": frozenset({"BROKER_URL", "FLOWER_OAUTH2_SECRET", "HOOKLINE_OPERATOR_PASSWORD"}),
    "migrate": frozenset({"DATABASE_URL"}),
}
ROLES = (*USED, EVERYTHING)
GUARDED = frozenset().union(*USED.values()) - {"ALLOWED_HOSTS"}

_ROLE_OF_COMMAND: Mapping[str, str] = {
    **dict.fromkeys(
        ("app_manifest", "changepassword", "createsuperuser", "dbshell", "prune", "showmigrations", "tokens"), "migrate"
    ),
    "secrets": "receiver",
    **dict.fromkeys(
        (
            "dead",
            "deliveries",
            "encrypt_payloads",
            "inbox",
            "job",
            "jobs",
            "pause",
            "plan_capacity",
            "replay",
            "resume",
            "stop_workers",
        ),
        "relay",
    ),
}
"""Commands that people run in any pod. Each needs no more variables than its role uses."""


def role_of(command: str) -> str | None:
    """Return the role of a command of `manage.py`, or None if it is in no table."""
    return command if command in USED else _ROLE_OF_COMMAND.get(command)


def uses(role: str, variable: str) -> bool:
    """Tell whether a role uses one of the guarded variables."""
    return role == EVERYTHING or listed_name(variable) in USED[role]


def withhold(role: str) -> None:
    """Remove the guarded variables that the role does not use from the environment; child processes inherit it."""
    for name in list(os.environ):
        variable = name.removesuffix("_FILE")
        if listed_name(variable) in GUARDED and not uses(role, variable):
            del os.environ[name]
