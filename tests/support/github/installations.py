"""What an installation of the App may do at the stand-in: tokens, its repositories, files, comments, labels and checks.

The answers have the form that GitHub describes (`openapi.json`), with no more than what that asks for.
"""

import base64
import hashlib
import itertools
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.support.github.limits import Limit
from webhooks.github import samples

Answer = tuple[int, Any, Mapping[str, str]]
TOKEN_LIFE = timedelta(hours=1)
SENT = "2026-11-01T12:00:00Z"
_MINT = re.compile(r"/app/installations/(?P<id>[0-9]+)/access_tokens")
_REPOSITORY = re.compile(r"/repos/(?P<name>[^/]+/[^/]+)/(?P<rest>.+)")
_ids = itertools.count(1)
_USER: Mapping[str, Any] = samples.load("repository")["sender"] | {"gravatar_id": ""}


@dataclass(kw_only=True)
class Repository:
    """A repository that an installation may see."""

    name: str
    id: int = field(default_factory=lambda: next(_ids))
    files: dict[str, str] = field(default_factory=dict)
    changed: dict[int, list[str]] = field(default_factory=dict)
    """The paths that each pull request changes."""
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    labels: dict[int, list[str]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Installation:
    """An installation, its repositories, and its own rate limit."""

    id: int
    repositories: list[Repository] = field(default_factory=list)
    limit: Limit = field(default_factory=Limit)
    minted: int = 0
    """How many tokens it was given."""
    tokens: dict[str, datetime] = field(default_factory=dict)
    """When each token ends."""

    def add(self, name: str, **values: Any) -> Repository:
        self.repositories.append(Repository(name=name, **values))
        return self.repositories[-1]

    def mint(self, now: datetime) -> Answer:
        token, ends_at = f"ghs_{secrets.token_urlsafe(27)}", now + TOKEN_LIFE
        self.minted, self.tokens[token] = self.minted + 1, ends_at
        permissions = {"checks": "write", "contents": "read", "issues": "write", "metadata": "read"}
        ends = ends_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return 201, {"token": token, "expires_at": ends, "permissions": permissions}, {}


def minted(path: str) -> int | None:
    """Return the installation that a call wants a token of; None for any other call."""
    found = _MINT.fullmatch(path)
    return int(found["id"]) if found else None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call, and where the API is."""

    url: str
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes

    @property
    def sent(self) -> Any:
        return json.loads(self.body or b"{}")

    def page(self, everything: list[Any]) -> tuple[list[Any], Mapping[str, str]]:
        """Return the page that is asked for, and the header that leads to the next."""
        size, number = min(100, int(self.query.get("per_page", 30))), int(self.query.get("page", 1))
        page = everything[(number - 1) * size : number * size]
        if number * size >= len(everything):
            return page, {}
        following = urlencode({**self.query, "page": number + 1})
        return page, {"Link": f'<{self.url}{self.path}?{following}>; rel="next"'}


def answer(installation: Installation, call: Call) -> Answer:
    """Answer a call that is signed with a token of the installation."""
    if (call.method, call.path) == ("GET", "/installation/repositories"):
        listed = [_listed(call.url, one) for one in installation.repositories]
        page, headers = call.page(listed)
        return 200, {"total_count": len(listed), "repositories": page}, headers
    found = _REPOSITORY.fullmatch(call.path)
    repository = next((one for one in installation.repositories if found and one.name == found["name"]), None)
    if found is None or repository is None:
        return missing()
    parts = found["rest"].split("/")
    return (_read if call.method == "GET" else _written)(repository, call, parts) or missing()


def _read(repository: Repository, call: Call, parts: list[str]) -> Answer | None:
    match parts:
        case "contents", *names:
            return _contents(repository, call.url, "/".join(names))
        case "pulls", number, "files":
            page, headers = call.page([_file(call.url, name) for name in repository.changed.get(int(number), [])])
            return 200, page, headers
        case "issues", number, "comments":
            page, headers = call.page(repository.comments.get(int(number), []))
            return 200, page, headers
        case "commits", commit, "check-runs":
            name = call.query.get("check_name")
            found = [one for one in repository.checks if one["head_sha"] == commit and name in (None, one["name"])]
            page, headers = call.page(found)
            return 200, {"total_count": len(found), "check_runs": page}, headers
    return None


def _written(repository: Repository, call: Call, parts: list[str]) -> Answer | None:
    match call.method, *parts:
        case "POST", "issues", number, "comments":
            made = _comment(call.url, repository.name, number, call.sent["body"])
            repository.comments.setdefault(int(number), []).append(made)
            return 201, made, {}
        case "POST", "issues", number, "labels":
            named = repository.labels.setdefault(int(number), [])
            named += [name for name in call.sent["labels"] if name not in named]
            return 200, [_label(call.url, name) for name in named], {}
        case "POST", "check-runs":
            repository.checks.append(_check(call.url, repository.name, call.sent))
            return 201, repository.checks[-1], {}
    return None


def with_etag(method: str, given: Answer, asked: str | None) -> Answer:
    """Give an answer an ETag, or answer 304 if what was asked with still holds."""
    status, body, headers = given
    if method != "GET" or status != 200:
        return given
    tag = f'W/"{hashlib.sha256(json.dumps(body).encode()).hexdigest()}"'
    return (304, None, {"ETag": tag}) if asked == tag else (status, body, {**headers, "ETag": tag})


def missing() -> Answer:
    return 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}, {}


def _listed(url: str, repository: Repository) -> dict[str, Any]:
    owner, _, name = repository.name.partition("/")
    like: dict[str, Any] = samples.load("repository")["repository"]
    return like | {
        "id": repository.id,
        "name": name,
        "full_name": repository.name,
        "private": True,
        "owner": {**_USER, "login": owner},
        "url": f"{url}/repos/{repository.name}",
    }


def _contents(repository: Repository, url: str, path: str) -> Answer:
    if path not in repository.files:
        return missing()
    content, own = repository.files[path].encode(), f"{url}/repos/{repository.name}/contents/{path}"
    return (
        200,
        {
            "type": "file",
            "encoding": "base64",
            "size": len(content),
            "name": path.rpartition("/")[2],
            "path": path,
            "content": base64.encodebytes(content).decode(),
            "sha": _sha(content),
            "url": own,
            "git_url": own,
            "html_url": own,
            "download_url": own,
            "_links": {"git": own, "html": own, "self": own},
        },
        {},
    )


def _file(url: str, path: str) -> dict[str, Any]:
    addresses = dict.fromkeys(("blob_url", "raw_url", "contents_url"), f"{url}/{path}")
    counts = {"additions": 1, "deletions": 0, "changes": 1}
    return {"sha": _sha(path.encode()), "filename": path, "status": "modified", **counts, **addresses}


def _comment(url: str, repository: str, number: str, body: str) -> dict[str, Any]:
    own = next(_ids)
    return {
        "id": own,
        "node_id": f"IC_{own}",
        "body": body,
        "user": _USER,
        "created_at": SENT,
        "updated_at": SENT,
        "url": f"{url}/repos/{repository}/issues/comments/{own}",
        "author_association": "NONE",
        "html_url": f"https://github.com/{repository}/pull/{number}#issuecomment-{own}",
        "issue_url": f"{url}/repos/{repository}/issues/{number}",
        "performed_via_github_app": None,
    }


def _label(url: str, name: str) -> dict[str, Any]:
    own = next(_ids)
    more = {"color": "ededed", "default": False, "description": None}
    return {"id": own, "node_id": f"LA_{own}", "url": f"{url}/labels/{name}", "name": name, **more}


def _check(url: str, repository: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    own, output = next(_ids), sent.get("output", {})
    return {
        "id": own,
        "node_id": f"CR_{own}",
        "name": sent["name"],
        "head_sha": sent["head_sha"],
        "status": sent.get("status", "queued"),
        "conclusion": sent.get("conclusion"),
        "external_id": sent.get("external_id", ""),
        "url": f"{url}/repos/{repository}/check-runs/{own}",
        "html_url": None,
        "details_url": None,
        "started_at": SENT,
        "completed_at": SENT,
        "check_suite": {"id": 1},
        "app": None,
        "pull_requests": [],
        "output": {
            **{name: output.get(name) for name in ("title", "summary", "text")},
            "annotations_count": 0,
            "annotations_url": f"{url}/repos/{repository}/check-runs/{own}/annotations",
        },
    }


def _sha(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
