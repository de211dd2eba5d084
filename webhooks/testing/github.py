"""A stand-in for `run.github` in tests of handlers: it answers by a table and records what it is asked. No network.

github = FakeGitHub({"GET /repos/acme/widgets/pulls/7/files": [{"filename": "README.md"}]})
outcome = run_handler(label, event("pull_request", number=7), github=github)
assert github.calls[-1].path == "/repos/acme/widgets/issues/7/labels"
"""

from collections.abc import Mapping
from typing import Any

import httpx
from githubkit import UnauthAuthStrategy

from webhooks.github_api.kit import client
from webhooks.github_api.meter import SPREAD_SECONDS
from webhooks.github_api.recording import Call, call_of
from webhooks.subscriptions.event import LimitReached

API = "https://api.github.com"


class FakeGitHub:
    """Answers a call by its method and path, without the query; a write that is not in the table as if it succeeded.

    An answer is JSON, or `(status, JSON)`. A list is one page. A read that is not in the table is answered 404.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None, *, is_limited: bool = False) -> None:
        """With `is_limited`, each call ends as it does at a rate limit."""
        self._answers, self._is_limited = dict(answers or {}), is_limited
        self.calls: list[Call] = []
        """What was asked, in order."""
        self.client = client(UnauthAuthStrategy(), API, transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        call = call_of(request)
        self.calls.append(call)
        if self._is_limited:
            raise LimitReached("GitHub's rate limit is reached.", after=60.0 + SPREAD_SECONDS)
        usual = (404, {"message": "Not Found"}) if call.method == "GET" else (201, {"id": len(self.calls)})
        found = self._answers.get(f"{call.method} {request.url.path}", usual)
        is_whole = isinstance(found, tuple)
        status, content = found if is_whole else (200 if call.method == "GET" else 201, found)
        return httpx.Response(status, json=content)
