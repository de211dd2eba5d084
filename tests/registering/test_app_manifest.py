"""`manage.py app_manifest`: what the manifest holds, the form on this machine, and the exchange of GitHub's code."""

import html
import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from tests.support.github.server import GitHub, serving
from tests.support.processes import ROOT, Done, environment, free_port, manage, wait_until
from webhooks.github.app_manifest import ALWAYS_SENT, PERMISSIONS, WITHOUT_PERMISSION, manifest, website_of
from webhooks.github.event_names import EVENT_NAMES

KEY = "-----BEGIN RSA PRIVATE KEY-----\nthe+key+of+the+app\n-----END RSA PRIVATE KEY-----\n"
SECRET = "the webhook secret that GitHub made"
URL = ("--url", "https://hooks.example.com")
MADE = {
    "id": 4711,
    "name": "hookline of acme",
    "html_url": "https://github.com/apps/hookline-of-acme",
    "pem": KEY,
    "webhook_secret": SECRET,
    "client_id": "Iv1.8a61f9b3a7aba766",
    "client_secret": "the client's secret, which Hookline does not need",
}
http = urllib3.PoolManager(retries=False)


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as running:
        running.codes["a180b1a3d263c81bc6441d7b990bae27d4c10679"] = MADE
        yield running


def app_manifest(github: GitHub, directory: Path, *arguments: str, **settings: object) -> Done:
    given = {"HOOKLINE_DATA_DIR": directory, "HOOKLINE_APPS": "tests.apps.pulled", "GITHUB_API_URL": github.url}
    done = manage("app_manifest", *arguments, **{**given, **settings})
    for secret in (SECRET, "the+key+of+the+app", "the client's secret"):
        assert secret not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_events_and_permissions_come_from_the_handlers(github: GitHub, tmp_path: Path) -> None:
    done = app_manifest(
        github, tmp_path, *URL, "--print", "--permission", "checks:write", "--permission", "issues:write"
    )
    made = json.loads(done.stdout)
    assert made["hook_attributes"] == {"url": "https://hooks.example.com/webhooks/github", "active": True}
    assert made["default_events"] == ["issue_comment", "pull_request"]
    assert made["default_permissions"] == {
        "metadata": "read", "issues": "write", "pull_requests": "read", "checks": "write"
    }  # fmt: skip
    assert made["public"] is False
    assert made["name"] == "hookline hooks.example.com"
    assert made["url"] == "https://hooks.example.com"


def test_every_event_that_github_documents_for_apps_has_its_permission() -> None:
    # Not sent to Apps, by GitHub's description of its API.
    of_others = {"marketplace_purchase", "repository_import", "repository_vulnerability_alert", "sponsorship"}
    unknown = EVENT_NAMES - set(PERMISSIONS) - ALWAYS_SENT - WITHOUT_PERMISSION - of_others
    assert unknown == {"exemption_request_push_ruleset"}
    assert set(PERMISSIONS) <= EVENT_NAMES


def test_what_every_app_gets_is_not_named() -> None:
    made = manifest(
        "https://a.example", source="github", name="a", events=ALWAYS_SENT, permissions={}, redirect_url="x"
    )
    assert (made["default_events"], made["default_permissions"]) == ([], {"metadata": "read"})


@pytest.mark.parametrize(
    ("api_url", "website"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://ghes.example.com/api/v3", "https://ghes.example.com"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com"),
    ],
)
def test_the_form_leads_to_the_github_whose_api_is_configured(api_url: str, website: str) -> None:
    assert website_of(api_url) == website


def test_a_code_is_exchanged_for_files_that_only_their_owner_reads(github: GitHub, tmp_path: Path) -> None:
    [code] = github.codes
    done = app_manifest(github, tmp_path, "--code", code)
    assert done.returncode == 0, done.stderr
    for name, content in (("private-key.pem", KEY), ("webhook-secret", SECRET)):
        file = tmp_path / "app" / name
        assert file.read_text() == content
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert str(file) in done.stdout
    assert "GITHUB_APP_ID=4711" in done.stdout
    # What it printed is what the next start takes.
    lines = (line.strip().partition("=") for line in done.stdout.splitlines() if line.startswith("  "))
    checked = manage("check", HOOKLINE_DATA_DIR=tmp_path, **{name: value for name, _, value in lines})
    assert "GITHUB_WEBHOOK_SECRETS" not in checked.stderr
    again = app_manifest(github, tmp_path, "--code", code)
    assert "is there already" in again.stderr
    assert len(github.asked("/conversions")) == 1
    used = app_manifest(github, tmp_path, "--code", code, "--directory", str(tmp_path / "other"))
    assert "good once, and for one hour" in used.stderr


def test_the_form_posts_the_manifest_and_takes_githubs_answer(github: GitHub, tmp_path: Path) -> None:
    [code] = github.codes
    port = free_port()
    settings = environment(HOOKLINE_DATA_DIR=tmp_path, HOOKLINE_APPS="tests.apps.pulled", GITHUB_API_URL=github.url)
    command = [sys.executable, "manage.py", "app_manifest", *URL, "--port", str(port), "--organization", "acme"]
    with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True) as process:
        own = f"http://127.0.0.1:{port}"

        def answered() -> str | None:
            try:
                return http.request("GET", f"{own}/").data.decode()
            except urllib3.exceptions.HTTPError:
                return None

        form = wait_until(answered, what="the form to be served")
        [action] = re.findall(r'action="([^"]+)"', form)
        posted = json.loads(html.unescape(re.findall(r'name="manifest" value="([^"]+)"', form)[0]))
        assert posted["redirect_url"] == f"{own}/made"
        where = urlsplit(html.unescape(action))
        assert where.path == "/organizations/acme/settings/apps/new"
        [state] = parse_qs(where.query)["state"]
        assert http.request("GET", f"{own}/made?code={code}&state=wrong").status == 400
        assert http.request("GET", f"{own}/elsewhere").status == 404
        assert http.request("GET", f"{own}/made?code={code}&state={state}").status == 200
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "GITHUB_APP_ID=4711" in said
    assert SECRET not in said
    assert (tmp_path / "app" / "private-key.pem").read_text() == KEY


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--url", "hooks.example.com"), "--url must be"),
        ((*URL, "--source", "ghes"), "There is no source ghes"),
        ((*URL, "--organization", "a/b"), "--organization must be"),
        ((*URL, "--print", "--permission", "checks=write"), "--permission must be"),
        ((*URL, "--print", "--event", "sponsorship"), "cannot subscribe to 'sponsorship'"),
        ((*URL, "--print", "--name", "x" * 35), "34 characters"),
        (("--code", "a/../b"), "no code of GitHub's"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(
    github: GitHub, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = app_manifest(github, tmp_path, *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not github.asked()


def test_githubs_refusals_are_said(github: GitHub, tmp_path: Path) -> None:
    from tests.support.github.limits import Fault

    [code] = github.codes
    github.faults.append(Fault(status=503, only="/conversions", times=1))
    assert "GitHub answers 503" in app_manifest(github, tmp_path, "--code", code).stderr
    github.codes["abc"] = {"id": 1, "name": "x", "html_url": "x", "pem": None, "webhook_secret": None}
    assert "cannot be read" in app_manifest(github, tmp_path, "--code", "abc").stderr
    nowhere = "http://127.0.0.1:9"
    refused = app_manifest(github, tmp_path, "--code", "abc", GITHUB_API_URL=nowhere)
    assert "GitHub cannot be reached" in refused.stderr
    assert not (tmp_path / "app").exists()
