"""What each source's GitHub is asked with: the API's address, an App's key, a token and the hooks that it may read."""

import re
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environs import ValidationError

from project.addresses import META
from project.roles import uses
from project.variables import Variables, unquoted_items
from webhooks.source_secrets import API_TOKEN, API_URL, APP_ID, APP_PRIVATE_KEY, HOOK_ADDRESSES, HOOKS, variable_of

GITHUB_COM = "https://api.github.com"
_APP_ID = re.compile(r"[A-Za-z0-9.]{1,100}")
_NAME = r"(?!\.{1,2}/)[\w.-]{1,100}"
_HOOK = re.compile(rf"(orgs/{_NAME}|repos/{_NAME}/{_NAME})/hooks/[0-9]{{1,18}}", re.ASCII)
_PEM = re.compile(r"-----BEGIN (RSA )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END (RSA )?PRIVATE KEY-----")
_TOKEN = re.compile(r"[!-~]{10,1000}")


def app_id(value: str) -> str:
    """Return an App's id or its client id."""
    if not _APP_ID.fullmatch(value):
        raise ValidationError("must be the App's id, such as 123456, or its client id.")
    return value


def private_key(value: str) -> str:
    """Return a key in PEM, as GitHub gives it out; line ends may be written as \\n."""
    lines = [line.strip() for line in value.replace("\\n", "\n").splitlines()]
    key = "\n".join(filter(None, lines))
    if not _PEM.fullmatch(key):
        raise ValidationError("must be the App's private key in PEM, from -----BEGIN to the end of its last line.")
    return f"{key}\n"


def api_token(value: str) -> str:
    """Return a token, which goes into a header."""
    if not _TOKEN.fullmatch(value):
        raise ValidationError("must be a token of GitHub's, without blanks.")
    return value


def hook_paths(value: str) -> list[str]:
    """Return the hooks whose logs are read, as their addresses in the API."""
    paths = [item.strip("/") for item in unquoted_items(value)]
    if not all(map(_HOOK.fullmatch, paths)) or len(set(paths)) != len(paths):
        raise ValidationError("must be hooks, each once: orgs/acme/hooks/123 or repos/acme/widgets/hooks/456.")
    return paths


def read_access(env: Variables, sources: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read the variables of each source; `stop_on_errors` reports a fault."""
    return {
        source: {
            "api_url": env.https_address(variable_of(source, API_URL), GITHUB_COM),
            "app_id": env.app_id(variable_of(source, APP_ID), None) or "",
            "private_key": env.private_key(variable_of(source, APP_PRIVATE_KEY), None) or "",
            "token": env.api_token(variable_of(source, API_TOKEN), None) or "",
            "hooks": env.hook_paths(variable_of(source, HOOKS), None) or [],
        }
        for source in sources
    }


def read_hook_addresses(env: Variables, access: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Read from where each source's deliveries may come; no entry for those that may come from anywhere."""
    given = {source: env.hook_addresses(variable_of(source, HOOK_ADDRESSES), None) for source in access}
    return {
        source: {
            "meta_url": f"{str(access[source]['api_url']).rstrip('/')}/meta" if META in found else "",
            "networks": [item for item in found if item != META],
        }
        for source, found in given.items()
        if found
    }


def check_access(access: dict[str, dict[str, Any]], role: str) -> None:
    """Raise ImproperlyConfigured if one half of a pair is missing that the role uses.

    A worker may be given an App's id, which is no secret, and not its key: then its handlers do not call the API.
    """
    pairs = ((APP_PRIVATE_KEY, "private_key", APP_ID, "app_id"), (HOOKS, "hooks", API_TOKEN, "token"))
    for source, given in access.items():
        for first, first_key, second, second_key in pairs:
            is_needless = not given["private_key"] if first == APP_PRIVATE_KEY else not uses(role, API_TOKEN)
            if not uses(role, API_TOKEN) and is_needless:
                continue
            if bool(given[first_key]) != bool(given[second_key]):
                here, there = (first, second) if given[first_key] else (second, first)
                raise ImproperlyConfigured(f"{variable_of(source, here)}: needs {variable_of(source, there)} too.")
