"""Operations on jobs as an operator asks for them on the console: the page that asks why, and its form."""

import re
from html import unescape
from typing import Any

from django.test import Client

from tests.support.inbox_rows import messages_of
from webhooks.models import Job

LIST = "/jobs/"
CONFIRM = "/jobs/confirm/"
CHANGE = "/jobs/change/"
REASON = "the mail server is back"


def act(client: Client, operation: str, *jobs: Job, on_all: str = "") -> str:
    """Carry out an operation on these jobs, or on all that a query finds; return what the operator reads."""
    return messages_of(confirm(client, ask(client, operation, *jobs, on_all=on_all)))


def ask(client: Client, operation: str, *jobs: Job, on_all: str = "", **more: str) -> Any:
    """Ask for an operation; return the page that says what would happen."""
    if on_all:
        return client.get(f"{CONFIRM}?operation_on_all={operation}&{on_all}", more)
    return client.get(CONFIRM, {"operation": operation, "job": [str(job.pk) for job in jobs], **more})


def confirm(client: Client, asked: Any, reason: str = REASON) -> Any:
    """Send the form of the page that asks, as it stands there; return what it leads to."""
    return client.post(CHANGE, form_of(asked) | {"reason": reason}, follow=True)


def form_of(asked: Any) -> dict[str, list[str] | str]:
    """Return what the page's form sends, without the reason."""
    form: dict[str, list[str] | str] = {}
    assert asked.status_code == 200
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', asked.content.decode()):
        values = form.setdefault(name, [])
        assert isinstance(values, list)
        values.append(unescape(value))
    return form
