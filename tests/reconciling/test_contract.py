"""The stand-in answers as GitHub's own description of its API says, and refuses what GitHub refuses."""

import json
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import jwt
import pytest
import urllib3

from tests.support.github import server as stand_in
from tests.support.github.limits import App
from tests.support.github.log import Hook
from tests.support.github.server import TOKEN, GitHub

PATHS = ["app/hook", "orgs/acme/hooks/123", "repos/acme/widgets/hooks/456"]
DESCRIBED: dict[str, Any] = json.loads((Path(stand_in.__file__).parent / "openapi.json").read_text())
http = urllib3.PoolManager(retries=False)


def token_of(app: App, **claims: Any) -> str:
    now = int(time.time())
    given = {"iss": str(app.number), "iat": now - 60, "exp": now + 540} | claims
    return jwt.encode(given, app.private_key, algorithm="RS256")


def ask(github: GitHub, path: str, *, method: str = "GET", token: str = "") -> urllib3.BaseHTTPResponse:
    signed = token or (token_of(github.app) if path.startswith("app") else TOKEN)
    return http.request(method, f"{github.url}/{path}", headers={"Authorization": f"Bearer {signed}"})


def described(method: str, path: str) -> dict[str, Any]:
    """Return what GitHub says of a call. The names in its paths are ours."""
    kind, *_ = path.split("/")
    hook = {"app": "/app/hook", "orgs": "/orgs/{org}/hooks/{hook_id}", "repos": "/repos/{owner}/{repo}/hooks/{hook_id}"}
    rest = path.partition("/deliveries")[2].partition("?")[0]
    number, _, attempts = rest.strip("/").partition("/")
    name = f"{hook[kind]}/deliveries" + ("/{delivery_id}" if number else "") + (f"/{attempts}" if attempts else "")
    found: dict[str, Any] = DESCRIBED["operations"][f"{method} {name}"]
    return found


def check(method: str, path: str, response: urllib3.BaseHTTPResponse) -> Any:
    said = described(method, path)
    assert response.status == said["status"]
    value = response.json()
    jsonschema.validate(value, _nullable(DESCRIBED["schemas"][said["schema"]]))
    return value


def _nullable(schema: Any) -> Any:
    """Turn OpenAPI's `nullable` into JSON Schema's."""
    if isinstance(schema, list):
        return [_nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    turned = {name: _nullable(part) for name, part in schema.items() if name != "nullable"}
    if schema.get("nullable") is True and isinstance(schema.get("type"), str):
        turned["type"] = [schema["type"], "null"]
        if "enum" in schema:
            turned["enum"] = [*schema["enum"], None]
    return turned


@pytest.fixture(params=PATHS)
def logged(request: pytest.FixtureRequest, github: GitHub) -> Hook:
    hook = github.hook(request.param)
    for minutes in range(5):
        hook.add("issues", {"action": "opened"}, delivered_at=github.now() - timedelta(minutes=minutes))
    hook.add("push", {}, throttled_at=github.now(), installation_id=12, repository_id=34)
    return hook


def test_every_answer_has_the_form_that_github_describes(github: GitHub, logged: Hook) -> None:
    path = f"{logged.path}/deliveries"
    listed = check("GET", path, ask(github, path))
    assert len(listed) == 6
    assert {"per_page", "cursor", "status"} == set(described("GET", path)["parameters"])
    for entry in listed:
        detail = check("GET", f"{path}/{entry['id']}", ask(github, f"{path}/{entry['id']}"))
        assert {name: detail[name] for name in entry} == entry
    attempt = f"{path}/{listed[-1]['id']}/attempts"
    check("POST", attempt, ask(github, attempt, method="POST"))
    newest = ask(github, path).json()[0]
    assert (newest["guid"], newest["redelivery"]) == (listed[-1]["guid"], True)


def test_pages_lead_from_the_newest_entry_to_the_oldest(github: GitHub, logged: Hook) -> None:
    address, seen = f"{logged.path}/deliveries?per_page=2", []
    while address:
        response = ask(github, address)
        seen += [entry["id"] for entry in response.json()]
        link = response.headers.get("Link", "")
        address = link.partition(f"<{github.url}/")[2].partition(">")[0]
    assert seen == [entry.id for entry in logged.entries()]
    assert len(ask(github, f"{logged.path}/deliveries?per_page=1000").json()) == 6


def test_status_and_cursor_are_checked(github: GitHub, logged: Hook) -> None:
    path = f"{logged.path}/deliveries"
    logged.add("push", {}, status_code=200, status="OK")
    assert [len(ask(github, f"{path}?status={status}").json()) for status in ("success", "failure")] == [1, 6]
    assert [ask(github, f"{path}?{query}").status for query in ("status=lost", "cursor=7")] == [422, 422]


def test_entries_leave_the_log_after_three_days(github: GitHub, logged: Hook) -> None:
    github.ahead = timedelta(days=3, minutes=-2, seconds=-30)
    path = f"{logged.path}/deliveries"
    listed = ask(github, path).json()
    assert len(listed) == 4, "Of those that were logged three minutes ago and before."
    github.ahead += timedelta(minutes=3)
    assert ask(github, path).json() == []
    assert ask(github, f"{path}/{listed[0]['id']}").status == 404


@pytest.mark.parametrize(
    "claims",
    [{"exp": 1}, {"iss": "4712"}, {"exp": int(time.time()) + 3_600}, {"iat": int(time.time()) + 3_600}, {"iss": None}],
    ids=["expired", "another App's", "for too long", "of the future", "nobody's"],
)
def test_an_app_s_token_is_checked(github: GitHub, claims: dict[str, Any]) -> None:
    github.hook()
    given = {name: value for name, value in claims.items() if value is not None}
    signed = token_of(github.app, **given) if given else jwt.encode({}, github.app.private_key, algorithm="RS256")
    assert ask(github, "app/hook/deliveries", token=signed).status == 401
    assert ask(github, "app/hook/deliveries", token=token_of(App(github.app.number))).status == 401
    assert ask(github, "app/hook/deliveries").status == 200


@pytest.mark.parametrize("path", ["orgs/acme/hooks/123/deliveries", "app/hook/deliveries"])
def test_a_token_of_the_other_kind_opens_nothing(github: GitHub, path: str) -> None:
    wrong = TOKEN if path.startswith("app") else token_of(github.app)
    assert ask(github, path, token=wrong).status == 401
    assert ask(github, path).status == 404, "No such hook."


def test_every_call_is_counted_and_the_last_one_refused(github: GitHub) -> None:
    github.hook()
    limit = github.limits["app"]
    limit.limit = 2
    answers = [ask(github, "app/hook/deliveries") for _ in range(3)]
    assert [(answer.status, answer.headers["x-ratelimit-remaining"]) for answer in answers] == [
        (200, "1"),
        (200, "0"),
        (403, "0"),
    ]
    assert int(answers[2].headers["x-ratelimit-reset"]) > time.time()
    assert ask(github, f"app/hook/deliveries/{uuid.uuid4().int}").status == 403


def test_what_an_installation_is_answered_has_the_form_that_github_describes(github: GitHub) -> None:
    files = {"README.md": "Widgets"}
    github.installation().add("acme/widgets", files=files, changed={1: ["docs/a.md"]})
    mint = "app/installations/7/access_tokens"
    token = http.request("POST", f"{github.url}/{mint}", headers={"Authorization": f"Bearer {token_of(github.app)}"})
    signed = {"Authorization": f"token {token.json()['token']}"}
    repository, issue = "/repos/{owner}/{repo}", "/issues/{issue_number}"
    calls: list[tuple[str, str, str, Any]] = [
        ("GET", "/installation/repositories", "/installation/repositories", None),
        ("GET", "/repos/acme/widgets/contents/README.md", repository + "/contents/{path}", None),
        ("GET", "/repos/acme/widgets/pulls/1/files", repository + "/pulls/{pull_number}/files", None),
        ("POST", "/repos/acme/widgets/issues/1/comments", f"{repository}{issue}/comments", {"body": "Thanks!"}),
        ("GET", "/repos/acme/widgets/issues/1/comments", f"{repository}{issue}/comments", None),
        ("POST", "/repos/acme/widgets/issues/1/labels", f"{repository}{issue}/labels", {"labels": ["docs"]}),
        ("POST", "/repos/acme/widgets/check-runs", f"{repository}/check-runs", {"name": "a", "head_sha": "c0"}),
        ("GET", "/repos/acme/widgets/commits/c0/check-runs", repository + "/commits/{ref}/check-runs", None),
    ]
    answers = [(DESCRIBED["operations"]["POST /app/installations/{installation_id}/access_tokens"], token)]
    for method, path, name, sent in calls:
        answer = http.request(method, f"{github.url}{path}", headers=signed, json=sent)
        answers.append((DESCRIBED["operations"][f"{method} {name}"], answer))
    for said, answer in answers:
        assert answer.status == said["status"]
        assert answer.json()
        jsonschema.validate(answer.json(), _nullable(DESCRIBED["schemas"][said["schema"]]))
