"""Handlers whose day `tests/console/day.py` makes up. What they are sent while a test runs, they do at once."""

import time

from webhooks import Event, on


@on("push")
def scan_push(event: Event) -> str:
    return f"{event.repository}: no manifest has changed"


@on("pull_request")
def label_pull_request(event: Event) -> str:
    return "labelled docs, tests"


@on("issue_comment", queue="chat")
def notify_chat(event: Event) -> str:
    return "told #incoming"


@on("workflow_run", queue="slow")
def mirror_release(event: Event) -> str:
    time.sleep(float(event.payload.get("seconds", 0)))
    return "mirrored"


@on("check_run")
def never_works(event: Event) -> str:
    raise RuntimeError("the check has no details")
