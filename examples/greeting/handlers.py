"""Comments on a new pull request, once.

A handler may run again for the same delivery: its worker may die after the comment is made and before that is recorded.
GitHub's API accepts no idempotency key. So the key is put into the comment, where the page does not show it, and a
later run finds it there.
"""

import os

import urllib3

from webhooks import Event, on

API = os.environ.get("GREETING_API", "https://api.github.com")
TOKEN = os.environ.get("GREETING_TOKEN", "")

http = urllib3.PoolManager(timeout=10, retries=False)


@on("pull_request", actions=["opened"], time_limit=60)
def greet(event: Event) -> str:
    number = event.payload["number"]
    comments = f"{API}/repos/{event.repository}/issues/{number}/comments"
    marker = f"<!-- {event.idempotency_key} -->"
    if any(marker in comment["body"] for comment in call("GET", comments)):
        return f"#{number} was greeted by an earlier run"
    call("POST", comments, {"body": f"Welcome, {event.sender}!\n{marker}"})
    return f"greeted #{number}"


def call(method: str, url: str, content: dict[str, str] | None = None) -> list[dict[str, str]]:
    """Return GitHub's answer. If this raises, the job is tried again, after growing waits."""
    headers = {"Accept": "application/vnd.github+json", "Authorization": f"Bearer {TOKEN}"}
    answer = http.request(method, url, headers=headers, json=content)
    if answer.status >= 400:
        raise RuntimeError(f"GitHub answered {answer.status}")
    return answer.json()
