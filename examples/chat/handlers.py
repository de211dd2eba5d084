"""Posts new issues to a chat, over its HTTP API.

busy (429, 5xx)     RetryLater, after the time that the API gives, or a minute: costs no attempt, ten times at most
gone (404, 410)     GiveUp: no retry can succeed, and the job is dead at once
all else            raises: an attempt, tried again after growing waits, and dead after `max_attempts`
"""

import os

import urllib3

from webhooks import Event, GiveUp, RetryLater, on

URL = os.environ.get("CHAT_URL", "http://127.0.0.1:9999/messages")

http = urllib3.PoolManager(timeout=10, retries=False)


@on("issues", actions=["opened"], time_limit=30)
def tell(event: Event) -> str:
    issue = event.payload["issue"]
    message = {"text": f"{event.repository}#{issue['number']}: {issue['title']}"}
    # By the key, the API recognises a message that an earlier run has sent.
    answer = http.request("POST", URL, json=message, headers={"Idempotency-Key": event.idempotency_key})
    if answer.status == 429 or answer.status >= 500:
        raise RetryLater(f"the chat answered {answer.status}", after=seconds(answer.headers.get("Retry-After", "")))
    if answer.status in (404, 410):
        raise GiveUp(f"the chat answered {answer.status}: is CHAT_URL right?")
    if answer.status >= 400:
        raise RuntimeError(f"the chat answered {answer.status}")
    return f"told of #{issue['number']}"


def seconds(retry_after: str) -> float:
    """Return how long to wait; the header may also hold a date, or nothing."""
    return float(retry_after) if retry_after.isdecimal() else 60.0
