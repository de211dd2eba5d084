"""The variables that hold webhook secrets: one for the source `github`, and one for each further source."""

FIRST = "GITHUB_WEBHOOK_SECRETS"


def variable_of(source: str) -> str:
    """Return a source's variable: GITHUB_WEBHOOK_SECRETS for `github`, GITHUB_WEBHOOK_SECRETS_GHES for `ghes`."""
    return FIRST if source == "github" else f"{FIRST}_{source.upper().replace('-', '_')}"


def listed_name(variable: str) -> str:
    """Return the name by which tables list a variable: further sources' variables have the name of the first one's."""
    return FIRST if variable.startswith(f"{FIRST}_") else variable
