"""Who gets into a real Flower: nobody who has not signed in, by the password or by an identity provider."""

import http.server
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flower.urls import handlers  # type: ignore[import-untyped]

from tests.support.authority import Authority
from tests.support.flower import PASSWORD, Flower, running_flower
from tests.support.processes import ROOT, free_port, manage, wait_until
from tests.support.stack import running_stack
from workers import flower_settings
from workers.management.commands.flower import flower_command

OPEN = {"/healthcheck", "/static/x", "/login", "/logout"}
"""Pages of Flower's that show nothing of its workers."""
SECRET = "the-secret-of-flower-at-its-provider"
OAUTH = {
    "FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler",
    "FLOWER_AUTH": ".*@example.com",
    "FLOWER_OAUTH2_KEY": "flower-of-a-test",
    "FLOWER_OAUTH2_SECRET": SECRET,
    "FLOWER_OAUTH2_REDIRECT_URI": "https://console.example.com/flower/login",
    "FLOWER_URL_PREFIX": "flower",
}


def pages() -> list[str]:
    """Return a path of each of Flower's pages."""
    patterns = [one[0] if isinstance(one, tuple) else one.regex.pattern for one in handlers]
    paths = [re.sub(r"\(\.[*+]\)", "x", pattern).removesuffix("$").removesuffix("/?") for pattern in patterns]
    return [path for path in paths if path != ".*"]


def refusal(tmp_path: Path, **settings: object) -> str:
    """Return what a Flower that does not start says, which must not hold the secret."""
    ended = manage("flower", HOOKLINE_DATA_DIR=tmp_path / "data", **{"HOOKLINE_OPERATOR_PASSWORD": "", **settings})
    assert ended.returncode == 1
    assert SECRET not in ended.stderr
    return ended.stderr


def test_flower_that_nobody_could_sign_in_to_does_not_start_and_names_the_variables(tmp_path: Path) -> None:
    said = refusal(tmp_path)
    named = {"HOOKLINE_OPERATOR_PASSWORD", *OAUTH.keys() - {"FLOWER_URL_PREFIX"}}
    assert {name for name in named if name in said} == named


@pytest.mark.parametrize("missing", sorted(OAUTH.keys() - {"FLOWER_URL_PREFIX"}))
def test_flower_with_a_part_of_oauth_does_not_start_even_with_a_password(tmp_path: Path, missing: str) -> None:
    given = {name: value for name, value in OAUTH.items() if name != missing}
    said = refusal(tmp_path, **given, HOOKLINE_OPERATOR_PASSWORD=PASSWORD)
    assert f"set {missing}." in said


def test_flower_whose_provider_would_send_people_elsewhere_does_not_start(tmp_path: Path) -> None:
    said = refusal(tmp_path, **OAUTH | {"FLOWER_URL_PREFIX": "console/flower"})
    assert "FLOWER_OAUTH2_REDIRECT_URI: its path must be /console/flower/login" in said


# --- The password -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    with running_flower(tmp_path_factory.mktemp("flower"), HOOKLINE_OPERATOR_PASSWORD=PASSWORD) as started:
        yield started


def test_no_page_of_flowers_answers_without_the_password(by_password: Flower) -> None:
    assert len(pages()) > 25
    for path in pages():
        statuses = {by_password.answer(method, path) for method in ("GET", "POST")}
        if path in OPEN:
            assert 401 not in statuses, path
        else:
            assert 401 in statuses, path
            assert statuses <= {401, 405}, path


# --- OAuth ------------------------------------------------------------------------------------------------------------


class Provider(http.server.ThreadingHTTPServer):
    """An identity provider that knows one person."""

    daemon_threads = True
    email = "ana@example.com"

    @property
    def name(self) -> str:
        return f"localhost:{self.server_address[1]}"


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        is_flower = given["client_secret"] == [SECRET] and given["code"] == ["a-code"]
        self._answer({"access_token": "a-token"} if is_flower else {"error": "bad_verification_code"})

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "token a-token"
        self._answer([{"email": self.server.email, "verified": True}])

    def _answer(self, body: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""


@contextmanager
def provider(authority: Authority) -> Iterator[Provider]:
    with Provider(("127.0.0.1", 0), _Answers) as server:
        server.socket = authority.context().wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flower, Provider]]:
    """Yield a Flower below a prefix, and the provider that signs people in to it."""
    directory = tmp_path_factory.mktemp("flower")
    authority = Authority(directory / "authority")
    with provider(authority) as server:
        settings = {
            **OAUTH,
            "HOOKLINE_OPERATOR_PASSWORD": PASSWORD,
            "FLOWER_GITHUB_OAUTH_DOMAIN": server.name,
            "SSL_CERT_FILE": authority.certificate,
        }
        del settings["FLOWER_URL_PREFIX"]
        with running_flower(directory, prefix="/flower", **settings) as started:
            yield started, server


def test_who_has_not_signed_in_is_sent_to_the_provider(known: tuple[Flower, Provider]) -> None:
    flower, server = known
    for path in ("/flower/", "/flower/workers", "/flower/tasks", "/flower/api/workers", "/flower/metrics"):
        # Nor does the password help, since it is not asked for.
        for password in (None, PASSWORD):
            answer = flower.ask("GET", path, password=password)
            assert (answer.status, answer.location.partition("?")[0]) == (302, "/flower/login"), path
    asked = flower.ask("GET", "/flower/login")
    leads_to = urlsplit(asked.location)
    assert (asked.status, leads_to.scheme, leads_to.netloc) == (302, "https", server.name)
    values = parse_qs(leads_to.query)
    assert values["client_id"] == [OAUTH["FLOWER_OAUTH2_KEY"]]
    assert values["redirect_uri"] == [OAUTH["FLOWER_OAUTH2_REDIRECT_URI"]]
    assert SECRET not in asked.location


def test_who_has_not_signed_in_stops_no_worker(known: tuple[Flower, Provider]) -> None:
    flower, _ = known
    for path in ("/flower/api/worker/shutdown/worker@here", "/flower/api/worker/pool/restart/worker@here"):
        assert flower.answer("POST", path) == 403
        assert flower.answer("POST", path, PASSWORD) == 403


def signed_in(flower: Flower) -> tuple[int, str]:
    """Come back from the provider; return the answer's status and the cookies that it sets."""
    asked = flower.ask("GET", "/flower/login")
    [state] = parse_qs(urlsplit(asked.location).query)["state"]
    answer = flower.ask("GET", f"/flower/login?code=a-code&state={state}", Cookie=asked.cookies)
    return answer.status, answer.cookies


def test_whom_the_pattern_names_gets_in_once_the_provider_has_signed_them_in(known: tuple[Flower, Provider]) -> None:
    flower, server = known
    server.email = "ana@example.com"
    status, cookies = signed_in(flower)
    assert status == 302
    assert "user=" in cookies
    for path in ("/flower/workers", "/flower/api/workers", "/flower/metrics"):
        assert flower.ask("GET", path, Cookie=cookies).status == 200
    # Without the token that Flower's own pages hold, another site's form does nothing in their name.
    assert flower.ask("POST", "/flower/api/worker/shutdown/worker@here", Cookie=cookies).status == 403


@pytest.mark.parametrize("email", ["eve@example.org", "ana@example.com.example.org", "ana@notexample.com"])
def test_whom_the_pattern_does_not_name_stays_outside(known: tuple[Flower, Provider], email: str) -> None:
    flower, server = known
    server.email = email
    status, cookies = signed_in(flower)
    assert status == 403
    assert "user=" not in cookies
    assert flower.ask("GET", "/flower/workers", Cookie=cookies).status == 302


def test_a_sign_in_that_flower_did_not_begin_is_refused(known: tuple[Flower, Provider]) -> None:
    flower, _ = known
    assert flower.ask("GET", "/flower/login?code=a-code&state=made-up").status == 403


def test_the_providers_secret_is_no_argument_and_in_no_log(known: tuple[Flower, Provider]) -> None:
    flower, _ = known
    assert SECRET not in flower.log.read_text()
    arguments = Path(f"/proc/{flower.process.pid}/cmdline")
    if arguments.exists():  # On Linux.
        assert "flower" in arguments.read_text()
        assert SECRET not in arguments.read_text()


# --- Workers that are gone --------------------------------------------------------------------------------------------


def test_a_worker_that_is_gone_leaves_flowers_pages_after_a_while(tmp_path: Path) -> None:
    assert flower_settings.purge_offline_workers == 60
    options = tmp_path / "options.py"
    options.write_text("from workers.flower_settings import *\npurge_offline_workers = 1\n")
    port = free_port()
    with running_stack(tmp_path, database="sqlite", broker="filesystem") as stack, (tmp_path / "log").open("w") as log:
        given = {"HOOKLINE_FLOWER_PORT": str(port), "HOOKLINE_OPERATOR_PASSWORD": PASSWORD}
        command = [*flower_command()[:-1], f"--conf={options}"]
        process = subprocess.Popen(command, env=stack.settings() | given, cwd=ROOT, stdout=log, stderr=log)
        flower = Flower(port, process, tmp_path / "log")
        try:
            wait_until(flower.is_up, what="Flower answers")
            stack.migrate()
            worker = stack.start("worker", "--concurrency", "1")
            wait_until(lambda: workers_of(flower), what="Flower to see the worker")
            assert "flower_worker_online" in flower.page("/metrics")
            os.killpg(worker.pid, signal.SIGKILL)
            wait_until(lambda: not workers_of(flower), what="Flower to forget the worker")
            assert "worker-" not in flower.page("/workers")
            assert "flower_worker_online{" not in flower.page("/metrics")
        finally:
            process.kill()
            process.wait()


def workers_of(flower: Flower) -> list[str]:
    return [worker["hostname"] for worker in json.loads(flower.page("/workers?json=1"))["data"]]
