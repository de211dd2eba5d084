"""The three roles, as groups of Django's permissions. `migrate` makes them, and gives each what a new release adds."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, Permission, User

from webhooks.console.role_names import ADMINISTRATOR, OPERATOR, VIEWER

_NEVER_VIEWERS = frozenset({"view_payload"})
_OPERATORS = (
    "view_payload",
    "change_job",
    "add_pause",
    "change_pause",
    "change_issuemark",
    "add_workerrequest",
    "add_replay",
    "change_replay",
    "change_source",
    "delete_hooklog",
)
_ADMINISTRATORS_OF_INBOX = (
    "add_sourcesecret",
    "change_sourcesecret",
    "add_destination",
    "change_destination",
    "delete_destination",
)
_ADMINISTRATORS: Mapping[str, tuple[str, ...]] = {
    "auth": ("user", "group"),
    "axes": ("accessattempt", "accessfailurelog", "accesslog"),
}


def make_roles(**_signal: Any) -> None:
    """Make the groups that are missing, and add the permissions that a group lacks. Takes none away."""
    known = Permission.objects.select_related("content_type")
    inbox = {each.codename: each for each in known.filter(content_type__app_label="webhooks")}
    viewing = [each for name, each in inbox.items() if name.startswith("view_") and name not in _NEVER_VIEWERS]
    operating = [inbox[name] for name in _OPERATORS if name in inbox]
    administering = [inbox[name] for name in _ADMINISTRATORS_OF_INBOX if name in inbox]
    people = [
        each
        for label, models in _ADMINISTRATORS.items()
        for each in known.filter(content_type__app_label=label, content_type__model__in=models)
    ]
    for name, permissions in (
        (VIEWER, viewing),
        (OPERATOR, [*viewing, *operating]),
        (ADMINISTRATOR, [*viewing, *operating, *administering, *people]),
    ):
        Group.objects.get_or_create(name=name)[0].permissions.add(*permissions)


def may_see_payloads(user: User | AnonymousUser) -> bool:
    """Tell whether a user may see what deliveries contain: their payloads."""
    if user.has_perm("webhooks.view_payload"):
        return True
    return settings.HOOKLINE_VIEWERS_SEE_PAYLOADS and user.has_perm("webhooks.view_delivery")
