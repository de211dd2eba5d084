"""`manage.py pull` from a real receiver into a data directory of its own, and the runs of its handlers there."""

import contextlib
import json
import sqlite3
import ssl
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.migrated import migrate
from tests.support.processes import Done, manage
from tests.support.receiver_process import Receiver, receiver_in, request
from webhooks.github import samples

ANA = """
from django.contrib.auth.models import Group, User
User.objects.create_user("ana").groups.add(Group.objects.get(name="operator"))
"""


def of_pull_request(number: int, action: str = "opened") -> bytes:
    sample = samples.load("pull_request")
    return json.dumps(
        {**sample, "action": action, "pull_request": {**sample["pull_request"], "number": number}}
    ).encode()


def comment(number: int) -> bytes:
    repository = {"id": 1, "full_name": "acme/widgets"}
    issue = {"number": number, "pull_request": {}}
    return json.dumps({"action": "created", "issue": issue, "repository": repository}).encode()


class Pair:
    """An installation that deliveries are pulled from, and the developer's data directory."""

    def __init__(self, remote: Receiver, there: Path, here: Path) -> None:
        self.remote, self.there, self.here = remote, there, here
        self.url = f"http://127.0.0.1:{remote.port}"
        done = manage("shell", "-v0", "-c", ANA, HOOKLINE_DATA_DIR=there)
        assert done.returncode == 0, done.stderr
        self.token = self.tokens("create", "laptop", "--user", "ana").stdout.strip()

    def tokens(self, *arguments: str) -> Done:
        done = manage("tokens", *arguments, HOOKLINE_DATA_DIR=self.there)
        assert done.returncode == 0, done.stderr
        return done

    def send(self, body: bytes, event: str, **headers: str) -> str:
        guid = str(uuid.uuid4())
        sent = {"X-GitHub-Event": event, "X-GitHub-Delivery": guid, **headers}
        assert self.remote.ask(request(body=body, headers=sent)).status == 202
        return guid

    def pull(self, *arguments: str, token: str = "", url: str = "", **settings: object) -> Done:
        given = {
            "HOOKLINE_DATA_DIR": self.here,
            "HOOKLINE_APPS": "tests.apps.pulled",
            "HOOKLINE_TOKEN": token or self.token,
            **settings,
        }
        done = manage("pull", *arguments, "--from", url or self.url, **given)
        assert str(given["HOOKLINE_TOKEN"]) not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def refused(self, *arguments: str, **options: Any) -> str:
        done = self.pull(*arguments, **options)
        assert done.returncode == 1, done.stdout
        assert not done.stdout
        return done.stderr

    def pulled(self, *arguments: str) -> Any:
        done = self.pull(*arguments, "--format", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def rows(self, query: str, *, there: bool = False) -> list[tuple[Any, ...]]:
        file = (self.there if there else self.here) / "hookline.sqlite3"
        with contextlib.closing(sqlite3.connect(file)) as database:
            return list(database.execute(query))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    there, here = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("here")
    migrate({"HOOKLINE_DATA_DIR": here})
    with receiver_in(there) as remote:
        yield Pair(remote, there, here)


def test_a_delivery_is_stored_as_if_it_had_come_marked_and_run(pair: Pair) -> None:
    guid = pair.send(of_pull_request(41), "pull_request")
    done = pair.pull(guid)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"pull_request.opened acme/widgets {guid}, received there 20" in " ".join(done.stdout.split())
    assert "pulled.label  succeeded" in done.stdout
    assert "labelled opened #41" in done.stdout
    key = uuid.UUID(guid).hex
    [(pk, hook, signed)] = pair.rows(
        f"SELECT id, hook_id, secret_fingerprint FROM webhooks_delivery WHERE guid='{key}'"
    )
    [(body,)] = pair.rows(f"SELECT body FROM webhooks_payload WHERE delivery_id={pk}")
    assert (body, hook, signed) == (of_pull_request(41), 7, "")
    [pulled] = pair.rows(f"SELECT host, source FROM webhooks_pull WHERE delivery_id={pk}")
    assert pulled == (pair.url.removeprefix("http://"), "github")
    assert pair.rows(f"SELECT handler, state, attempt FROM webhooks_job WHERE delivery_id={pk}") == [
        ("pulled.label", "succeeded", 1)
    ]
    [(action, who)] = pair.rows(f"SELECT action, who FROM webhooks_change WHERE scope LIKE '%{guid}%'", there=True)
    assert (action, who) == ("take_payload", "ana")


def test_a_pull_requests_deliveries_run_in_order_and_held_back_calls_are_printed(pair: Pair) -> None:
    guids = [pair.send(of_pull_request(7), "pull_request"), pair.send(comment(7), "issue_comment")]
    pair.send(of_pull_request(8), "pull_request")
    guids.append(pair.send(of_pull_request(7, "synchronize"), "pull_request"))
    said = pair.pulled("--pull-request", "acme/widgets#7")
    assert [one["guid"] for one in said["deliveries"]] == guids
    runs = [(run["handler"], run["outcome"]) for one in said["deliveries"] for run in one["runs"]]
    assert runs == [("pulled.label", "succeeded"), ("pulled.answer", "succeeded"), ("pulled.label", "succeeded")]
    url = "https://api.github.com/repos/acme/widgets/issues/7/comments"
    assert said["recorded_calls"] == [{"method": "POST", "url": url, "summary": '{"body": "hi"}'}]
    again = pair.pull("--pull-request", "acme/widgets#7", "--again")
    assert again.returncode == 0, again.stdout
    words = " ".join(again.stdout.split())
    assert f"recorded, and not sent (1): POST {url}" in words
    assert "Nothing older than" in words


def test_the_sequence_can_be_cut_and_that_is_said(pair: Pair) -> None:
    for _ in range(3):
        pair.send(of_pull_request(9), "pull_request")
    done = pair.pull("--pull-request", "acme/widgets#9", "--most", "2", "--no-run")
    assert done.returncode == 1
    assert "only the first 2 were pulled" in done.stdout
    assert done.stdout.count("stored as") == 2


def test_what_is_stored_already_runs_only_if_that_is_asked_for(pair: Pair) -> None:
    guid = pair.send(of_pull_request(42), "pull_request")
    pair.pulled(guid)
    [one] = pair.pulled(guid)["deliveries"]
    assert (one["was_here"], one["runs"]) == (True, [])
    [one] = pair.pulled(guid, "--again")["deliveries"]
    assert [run["message"] for run in one["runs"]] == ["labelled opened #42"]
    assert pair.rows(f"SELECT attempt FROM webhooks_job WHERE delivery_id={one['delivery']}") == [(2,)]
    [(scope,)] = pair.rows("SELECT scope FROM webhooks_change WHERE action='run_again' ORDER BY id DESC LIMIT 1")
    assert scope == f"delivery {one['delivery']}"


def test_a_failing_handler_is_shown_with_its_traceback_and_ends_the_command_with_1(pair: Pair) -> None:
    done = pair.pull(pair.send(of_pull_request(43, "closed"), "pull_request"))
    assert done.returncode == 1
    assert "pulled.fail  failed" in done.stdout
    assert "raise ValueError" in done.stdout
    assert "pulled.label  succeeded" in done.stdout


def test_without_run_the_jobs_wait_for_a_worker(pair: Pair) -> None:
    done = pair.pull(pair.send(of_pull_request(44), "pull_request"), "--no-run")
    assert done.returncode == 0
    assert "1 job waiting" in done.stdout
    assert "`make run` starts one" in done.stdout
    assert ("queued",) in pair.rows("SELECT state FROM webhooks_job ORDER BY id DESC LIMIT 1")


def test_a_form_and_what_no_handler_wants_are_stored_too(pair: Pair) -> None:
    body = b"payload=%7B%22zen%22%3A%22x%22%7D"
    guid = pair.send(body, "ping", **{"Content-Type": "application/x-www-form-urlencoded"})
    done = pair.pull(guid)
    assert done.returncode == 0, done.stderr
    assert "no handler is subscribed to it here" in done.stdout


def test_a_pruned_payload_is_said_with_its_setting(pair: Pair) -> None:
    guid = pair.send(of_pull_request(45), "pull_request")
    with contextlib.closing(sqlite3.connect(pair.there / "hookline.sqlite3", timeout=20)) as database, database:
        database.execute(
            "DELETE FROM webhooks_payload WHERE delivery_id = (SELECT id FROM webhooks_delivery WHERE guid = ?)",
            [uuid.UUID(guid).hex],
        )
    done = pair.pull(guid)
    assert done.returncode == 1
    assert "HOOKLINE_KEEP_PAYLOADS_DAYS is 14 there" in done.stdout


def test_what_is_wrong_is_said_in_one_sentence(pair: Pair, tmp_path: Path) -> None:
    guid = str(uuid.uuid4())
    assert f"No delivery with the GUID {guid} is here" in pair.refused(guid)
    assert "does not know the token" in pair.refused(guid, token="hookline_" + "A" * 43)
    assert "nothing was sent" in pair.refused(guid, token="ghp_ofGitHubs")
    assert "must begin with https" in pair.refused(guid, url="http://hooks.example.com")
    assert "with no password in it" in pair.refused(guid, url="https://ana:secret@hooks.example.com")
    assert "acme/widgets#7" in pair.refused("--pull-request", "acme/widgets")
    assert "Connection refused" in pair.refused(guid, url="http://127.0.0.1:9")
    assert "--token-file cannot be read" in pair.refused(guid, "--token-file", str(tmp_path / "none"))
    assert "There is no source ghes" in pair.refused(pair.send(of_pull_request(46), "pull_request"), "--source", "ghes")
    assert "HOOKLINE_ENVIRONMENT is embedded" in pair.refused(
        guid, HOOKLINE_ENVIRONMENT="production", DATABASE_URL="postgres://nobody@127.0.0.1:9/none"
    )


def test_a_source_that_is_not_here_is_asked_for_where_there_are_several(pair: Pair) -> None:
    guid = pair.send(of_pull_request(47), "pull_request")
    several = {"HOOKLINE_SOURCES": "ours,theirs", "GITHUB_WEBHOOK_SECRETS_OURS": "x" * 20}
    several["GITHUB_WEBHOOK_SECRETS_THEIRS"] = "y" * 20
    assert "Say which by --source" in pair.refused(guid, **several)
    done = pair.pull(guid, "--source", "theirs", **several)
    assert done.returncode == 0, done.stderr
    found = pair.rows(
        "SELECT s.name FROM webhooks_delivery d JOIN webhooks_source s ON s.id=source_id ORDER BY d.id DESC"
    )
    assert found[0] == ("theirs",)


def test_a_token_file_is_read_and_a_revoked_token_is_refused(pair: Pair, tmp_path: Path) -> None:
    made = pair.tokens("create", "other", "--user", "ana").stdout.strip()
    (tmp_path / "token").write_text(f"{made}\n")
    guid = pair.send(of_pull_request(48), "pull_request")
    assert pair.pull(guid, "--token-file", str(tmp_path / "token")).returncode == 0
    listed = json.loads(pair.tokens("list", "--user", "ana", "--format", "json").stdout)
    [other] = [each for each in listed if each["name"] == "other"]
    assert other["state"] == "usable"
    assert other["last_used_at"]
    assert made not in json.dumps(listed)
    pair.tokens("revoke", str(other["token"]))
    assert "The token is revoked" in pair.refused(guid, "--token-file", str(tmp_path / "token"))


class _Elsewhere(BaseHTTPRequestHandler):
    """A server that is not Hookline. It leads elsewhere from one address."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(301 if "redirect" in self.path else 200)
        self.send_header("Location", "https://elsewhere.example.com/")
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"<hi>")

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextlib.contextmanager
def elsewhere(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Elsewhere,), {"seen": []}))
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_that_is_not_hookline_is_named_as_that_and_a_redirect_is_not_followed(pair: Pair) -> None:
    with elsewhere() as url:
        assert "not as Hookline does" in pair.refused(str(uuid.uuid4()), url=url)
        assert "leads elsewhere (https://elsewhere.example.com/)" in pair.refused(
            str(uuid.uuid4()), url=f"{url}/redirect"
        )


def test_a_certificate_that_nobody_knows_is_named_and_one_that_a_file_names_is_taken(
    pair: Pair, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    with elsewhere(authority.context()) as url:
        assert "its certificate is not accepted" in pair.refused(str(uuid.uuid4()), url=url)
        known = pair.refused(str(uuid.uuid4()), url=url, SSL_CERT_FILE=authority.certificate)
        assert "not as Hookline does" in known
