"""What the logs of each source are read with. The only place that knows where credentials come from."""

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
