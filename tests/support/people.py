"""Users in the roles, signed in."""

from django.contrib.auth.models import Group, User
from django.test import Client

from webhooks.console.role_names import ROLES

ROLELESS = "nobody"
"""A user without a role: known, and allowed nothing."""
EVERYBODY = (*ROLES, ROLELESS)


def user_in(role: str) -> User:
    """Return a user with one role; the user's name is the role's."""
    user, _ = User.objects.get_or_create(username=role, defaults={"is_staff": role == "administrator"})
    if role != ROLELESS:
        user.groups.add(Group.objects.get(name=role))
    return user


def signed_in(role: str) -> Client:
    """Return the client of a user with one role."""
    client = Client()
    client.force_login(user_in(role))
    return client
