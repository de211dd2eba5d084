"""The variables of a source: its webhook secrets, and what Hookline signs in with to that GitHub.

The source `github` has the names below; those of each further source have its name at their end.
"""

FIRST = "GITHUB_WEBHOOK_SECRETS"
API_URL = "GITHUB_API_URL"
API_TOKEN = "GITHUB_API_TOKEN"  # noqa: S105  The variable's name.
APP_ID = "GITHUB_APP_ID"
APP_PRIVATE_KEY = "GITHUB_APP_PRIVATE_KEY"
HOOKS = "GITHUB_HOOKS"
HOOK_ADDRESSES = "GITHUB_HOOK_ADDRESSES"
OF_SOURCES = (FIRST, API_URL, API_TOKEN, APP_ID, APP_PRIVATE_KEY, HOOKS, HOOK_ADDRESSES)


def variable_of(source: str, first: str = FIRST) -> str:
    """Return a source's variable: GITHUB_WEBHOOK_SECRETS for `github`, GITHUB_WEBHOOK_SECRETS_GHES for `ghes`."""
    return first if source == "github" else f"{first}_{source.upper().replace('-', '_')}"


def listed_name(variable: str) -> str:
    """Return the name by which tables list a variable: further sources' variables have the name of the first one's."""
    return next((first for first in OF_SOURCES if variable.startswith(f"{first}_")), variable)
