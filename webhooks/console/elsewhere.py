"""Where else a delivery can be looked at, and how it is sent again: GitHub's pages, and a line for a shell. No I/O."""

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from webhooks.console.payloads import file_name
from webhooks.models import Delivery
from webhooks.source_secrets import variable_of

_FULL_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_SIGNATURE = """"X-Hub-Signature-256: sha256=$(openssl dgst -sha256 -hmac "$SECRET" {file} | sed 's/^.* //')\""""
_SENT = ("Content-Type", "X-GitHub-Event", "X-GitHub-Delivery", "X-GitHub-Hook-ID",
         "X-GitHub-Hook-Installation-Target-ID", "X-GitHub-Hook-Installation-Target-Type")  # fmt: skip


class Link(NamedTuple):
    """A page elsewhere."""

    label: str
    url: str


def links_of(delivery: Delivery) -> Sequence[Link]:
    """Return the delivery's pages at its source: the repository, and the hook's list of recent deliveries."""
    base = _base(delivery.source.url)
    if not base or not _FULL_NAME.fullmatch(delivery.repository):
        return ()
    links = [Link("Repository on GitHub", f"{base}/{delivery.repository}")]
    if path := _settings_path(delivery):
        url = f"{base}{path}/hooks/{delivery.hook_id}?tab=deliveries"
        links.append(Link("Recent deliveries of this hook on GitHub", url))
    return links


def curl_of(delivery: Delivery, *, url: str) -> str:
    """Return lines for a shell that send the delivery again to `url`; they take the secret from `$SECRET`."""
    file = shlex.quote(file_name(delivery))
    headers = [f"{name}: {delivery.headers[name]}" for name in _SENT if name in delivery.headers]
    parts = [
        f"curl --data-binary @{file}",
        *(f"-H {shlex.quote(_in_one_line(header))}" for header in headers),
        f"-H {_SIGNATURE.format(file=file)}",
        shlex.quote(url),
    ]
    return " \\\n  ".join(parts)


def secret_hint(delivery: Delivery) -> str:
    """Return the name of the variable in which the source's secrets are."""
    return variable_of(delivery.source.name)


def _base(url: str) -> str:
    """Return a source's address without a slash at its end; empty if it is none to link to."""
    parts = urlsplit(url)
    return url.rstrip("/") if parts.scheme in ("http", "https") and parts.hostname and not parts.username else ""


def _settings_path(delivery: Delivery) -> str:
    """Return the path of the settings in which the hook is; empty if its owner is not known, as with an App's hook."""
    target = str(delivery.headers.get("X-GitHub-Hook-Installation-Target-Type", ""))
    if not delivery.hook_id:
        return ""
    if target == "repository":
        return f"/{delivery.repository}/settings"
    if target == "organization":
        return f"/organizations/{delivery.repository.partition('/')[0]}/settings"
    return ""


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
