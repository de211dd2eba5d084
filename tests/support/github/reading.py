"""Passes in this process over the logs of the stand-in, as tests ask for them."""

import threading
from collections.abc import Callable
from datetime import datetime

from webhooks.github_api.access import HookAccess, hooks_of
from webhooks.models import LogPass
from webhooks.reconciling.running import Options, reconcile

PUSH = {"ref": "refs/heads/main", "repository": {"full_name": "acme/widgets"}, "sender": {"login": "octo"}}


def access_of(source: str = "github", hook: str = "app") -> HookAccess:
    [found] = [access for access in hooks_of(source) if access.hook == hook]
    return found


def read(
    access: HookAccess | None = None,
    *,
    mode: str = LogPass.Mode.RECOVER,
    since: datetime | None = None,
    is_dry_run: bool = False,
    watch: Callable[[LogPass], None] = lambda _: None,
) -> LogPass:
    """Read a log, the App's unless told of another; return the last pass, and wait for nothing."""
    options = Options(mode=mode, since=since, is_dry_run=is_dry_run)
    return reconcile(access or access_of(), options, wait=threading.Event().wait, watch=watch)[-1]
