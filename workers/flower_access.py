"""Who gets into Flower: whoever has the operator's password, or whom an identity provider signs in. Never both ways.

Flower itself would start without either, and show its pages to everybody; and given both, it would ask for both.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from django.conf import settings

VARIABLES = {
    "auth_provider": "FLOWER_AUTH_PROVIDER",
    "auth": "FLOWER_AUTH",
    "oauth2_key": "FLOWER_OAUTH2_KEY",
    "oauth2_secret": "FLOWER_OAUTH2_SECRET",
    "oauth2_redirect_uri": "FLOWER_OAUTH2_REDIRECT_URI",
}
"""The variable of each of Flower's options for OAuth."""


def by_oauth() -> bool:
    """Tell whether an identity provider signs people in: one of its variables is given."""
    return any(settings.HOOKLINE_FLOWER_OAUTH.values())


def fault() -> str:
    """Return what is missing so that Flower lets in the right people alone; empty if nothing is."""
    if by_oauth():
        return _fault_of_oauth(settings.HOOKLINE_FLOWER_OAUTH)
    if settings.HOOKLINE_OPERATOR_PASSWORD:
        return ""
    return (
        "Flower can stop workers, so people have to sign in: set HOOKLINE_OPERATOR_PASSWORD; or, for an identity "
        f"provider, {', '.join(VARIABLES.values())}."
    )


def _fault_of_oauth(given: Mapping[str, str]) -> str:
    missing = [variable for option, variable in VARIABLES.items() if not given[option]]
    if missing:
        return f"An identity provider is to sign people in to Flower, and not all is given: set {', '.join(missing)}."
    path = f"/{settings.HOOKLINE_FLOWER_PREFIX}/login".replace("//", "/")
    if urlsplit(given["oauth2_redirect_uri"]).path != path:
        return f"FLOWER_OAUTH2_REDIRECT_URI: its path must be {path}, where Flower is by FLOWER_URL_PREFIX."
    return ""
