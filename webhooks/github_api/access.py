"""What each source's GitHub is called with. The only place that knows where credentials come from."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.conf import settings

APP = "app"
"""The name of the App's own hook: it has one, and its address in the API has no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAccess:
    """One hook whose log can be read. Its secrets are never shown."""

    source: str
    hook: str
    """`app`, or the hook's address in the API: `orgs/acme/hooks/123`, `repos/acme/widgets/hooks/456`."""
    api_url: str
    app_id: str = ""
    private_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def path(self) -> str:
        """The address in the API above `/deliveries`."""
        return "/app/hook" if self.hook == APP else f"/{self.hook}"

    @property
    def known_hook_id(self) -> int | None:
        """X-GitHub-Hook-ID, where the address has it."""
        return None if self.hook == APP else int(self.hook.rpartition("/")[2])


def hooks_of(source: str) -> Iterator[HookAccess]:
    """Yield the hooks of a source whose logs can be read: its App's, and those that are named."""
    given = settings.HOOKLINE_GITHUB_ACCESS[source]
    url = given["api_url"]
    if given["private_key"]:
        key = given["private_key"]
        yield HookAccess(source=source, hook=APP, api_url=url, app_id=given["app_id"], private_key=key)
    for hook in given["hooks"]:
        yield HookAccess(source=source, hook=hook, api_url=url, token=given["token"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AppAccess:
    """The App that handlers call a source's API as. Its key is never shown."""

    source: str
    api_url: str
    app_id: str
    private_key: str = field(repr=False)


def app_of(source: str) -> AppAccess | None:
    """Return the App of a source, or None if this process has no key of it."""
    given = settings.HOOKLINE_GITHUB_ACCESS.get(source, {})
    if not given.get("private_key") or not given.get("app_id"):
        return None
    return AppAccess(source=source, api_url=given["api_url"], app_id=given["app_id"], private_key=given["private_key"])


def api_url_of(source: str) -> str:
    """Return the address of a source's API."""
    url: str = settings.HOOKLINE_GITHUB_ACCESS.get(source, {}).get("api_url") or "https://api.github.com"
    return url


def has_any_app() -> bool:
    """Tell whether this process has the key of any App."""
    return any(given.get("private_key") for given in settings.HOOKLINE_GITHUB_ACCESS.values())
