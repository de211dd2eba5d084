"""The organisation's identity provider: its variables, and the settings that mozilla-django-oidc reads.

A provider is used if `HOOKLINE_OIDC_CLIENT_ID` is given; the other variables are then required. The package
is an extra: requirements-oidc.lock.
"""

from importlib.util import find_spec
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environs import ValidationError

from project.variables import Variables, unquoted_items
from webhooks.console.role_names import ROLES

SECONDS = 10.0
"""How long a sign-in waits for the provider."""
ADDRESSES = {
    "HOOKLINE_OIDC_AUTHORIZE_URL": "OIDC_OP_AUTHORIZATION_ENDPOINT",
    "HOOKLINE_OIDC_TOKEN_URL": "OIDC_OP_TOKEN_ENDPOINT",
    "HOOKLINE_OIDC_USER_URL": "OIDC_OP_USER_ENDPOINT",
    "HOOKLINE_OIDC_KEYS_URL": "OIDC_OP_JWKS_ENDPOINT",
}


def group_roles(value: str) -> dict[str, str]:
    """Return the role of each of the provider's groups, from `group=role` items."""
    roles = {}
    for item in unquoted_items(value):
        group, _, role = (part.strip() for part in item.rpartition("="))
        if not group or role not in ROLES:
            raise ValidationError(f"must be group=role items, such as sre=operator; the roles are {', '.join(ROLES)}.")
        roles[group] = role
    return roles


def https_address(value: str) -> str:
    """Return an address of the provider. Plain HTTP is for one on this machine alone: it would show the tokens."""
    if not value.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise ValidationError("must be an address that begins with https://.")
    return value


def provider_settings(env: Variables, *, is_on: bool) -> dict[str, Any]:
    """Read the variables that only the library uses, and return its settings; `stop_on_errors` reports a fault."""
    required: Any = ... if is_on else None
    found: dict[str, Any] = {
        "OIDC_RP_CLIENT_SECRET": env.str("HOOKLINE_OIDC_CLIENT_SECRET", required),
        "OIDC_RP_SCOPES": env.str("HOOKLINE_OIDC_SCOPES", "openid email profile groups"),
        "OIDC_RP_SIGN_ALGO": "RS256",
        "OIDC_USE_PKCE": True,
        "OIDC_TIMEOUT": SECONDS,
        "LOGIN_REDIRECT_URL_FAILURE": "/sign-in/?refused",
    }
    for variable, setting in ADDRESSES.items():
        found[setting] = env.https_address(variable, required)
    return found


def check_installed(*, is_on: bool) -> None:
    """Raise ImproperlyConfigured if the provider is to be used and its package is not installed."""
    if is_on and find_spec("mozilla_django_oidc") is None:
        raise ImproperlyConfigured(
            "HOOKLINE_OIDC_CLIENT_ID: needs the package mozilla-django-oidc; install requirements-oidc.lock."
        )
