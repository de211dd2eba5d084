"""Sign-in through the organisation's identity provider, by OpenID Connect. Imported only where it is switched on.

The provider says who somebody is, and in a claim which groups they are in. `HOOKLINE_OIDC_ROLES` says which role each
group has here. The roles are set anew at each sign-in: who has left a group has lost its role by the next one.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.db.models import QuerySet
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from webhooks.console.role_names import ADMINISTRATOR

LONGEST_NAME = 150
"""In characters, by Django's table of users."""


class Provider(OIDCAuthenticationBackend):  # type: ignore[misc]  # The library has no types.
    """Gives each of the provider's users one here, with the roles of their groups."""

    def verify_token(self, token: str, **values: Any) -> Any:
        """Refuse a token for somebody else too: the library does not check whom it is for."""
        payload = super().verify_token(token, **values)
        audience = payload.get("aud")
        if settings.OIDC_RP_CLIENT_ID not in ([audience] if isinstance(audience, str) else audience or ()):
            raise SuspiciousOperation("The identity provider's token is for another client.")
        return payload

    def verify_claims(self, claims: Mapping[str, Any]) -> bool:
        return bool(claims.get("sub")) and bool(_roles(claims))

    def filter_users_by_claims(self, claims: Mapping[str, Any]) -> QuerySet[User]:
        return User.objects.filter(username=_name(claims))

    def create_user(self, claims: Mapping[str, Any]) -> User:
        return self.update_user(User.objects.create_user(_name(claims)), claims)

    @transaction.atomic
    def update_user(self, user: User, claims: Mapping[str, Any]) -> User:
        roles = _roles(claims)
        user.email = str(claims.get("email", ""))[:254]
        user.is_staff = ADMINISTRATOR in roles
        user.save(update_fields=["email", "is_staff"])
        user.groups.set(Group.objects.filter(name__in=roles))
        return user


def _name(claims: Mapping[str, Any]) -> str:
    """Return the provider's user's name here. With its prefix, it is nobody's who signs in by password."""
    name = claims.get("email") or claims.get("preferred_username") or claims["sub"]
    return f"oidc:{name}"[:LONGEST_NAME]


def _roles(claims: Mapping[str, Any]) -> set[str]:
    groups = claims.get(settings.HOOKLINE_OIDC_GROUPS_CLAIM) or ()
    named = [groups] if isinstance(groups, str) else [each for each in groups if isinstance(each, str)]
    return {role for group in named if (role := settings.HOOKLINE_OIDC_ROLES.get(group))}
