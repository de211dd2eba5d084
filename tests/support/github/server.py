"""GitHub's REST API on loopback, as much of it as tests need: one App with installations, and hooks with a token."""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.support.github import installations
from tests.support.github.installations import Answer, Call, Installation
from tests.support.github.limits import App, Fault, Limit
from tests.support.github.log import Entry, Hook

TOKEN = "github_pat_that_reads_hooks"
APP = "app/hook"
DEFAULT_PAGE, LARGEST_PAGE = 30, 100
_CURSOR = re.compile(r"v1_([0-9]+)")
_DELIVERIES = re.compile(r"/(?P<hook>app/hook|(?:orgs|repos)/.+/hooks/[0-9]+)/deliveries(?P<rest>.*)")
_CONVERSION = re.compile(r"/app-manifests/(?P<code>[^/]+)/conversions")


class GitHub:
    """What the stand-in knows, and what it was asked. `prefix` is /api/v3 on GitHub Enterprise Server."""

    def __init__(self, *, app: int = 4_711, prefix: str = "") -> None:
        self.app, self.prefix, self.url = App(app), prefix, ""
        self.ahead = timedelta()
        """How far this GitHub's clock is ahead of the machine's."""
        self.hooks: dict[str, Hook] = {}
        self.installations: dict[int, Installation] = {}
        self.limits = {"app": Limit(), TOKEN: Limit()}
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, str]] = []
        self.codes: dict[str, Mapping[str, Any]] = {}
        """The codes of Apps that are made from a manifest, each good once, and what is given for it."""
        self._lock = threading.RLock()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def variables(self) -> dict[str, str]:
        """Return what a reconciler is given to read the App's log; the key as an env file of one line has it."""
        key = self.app.private_key.replace("\n", "\\n")
        return {"GITHUB_API_URL": self.url, "GITHUB_APP_ID": str(self.app.number), "GITHUB_APP_PRIVATE_KEY": key}

    def access(self) -> dict[str, Any]:
        """Return what the settings have of a source whose App is this one's."""
        given = {"api_url": self.url, "app_id": str(self.app.number), "private_key": self.app.private_key}
        return {**given, "token": "", "hooks": []}

    def hook(self, path: str = APP, *, hook_id: int = 0, url: str = "") -> Hook:
        """Make a hook: of the App, or `orgs/acme/hooks/12`, or `repos/acme/widgets/hooks/34`."""
        kind = {"orgs": "organization", "repos": "repository"}.get(path.split("/", maxsplit=1)[0], "integration")
        number = int(path.rpartition("/")[2]) if kind != "integration" else hook_id or 314
        target = (kind, self.app.number if kind == "integration" else 9_000 + number)
        self.hooks[path] = Hook(path, now=self.now, hook_id=number, target=target, url=url)
        return self.hooks[path]

    def installation(self, number: int = 7) -> Installation:
        """Return an installation of the App, which is made if there is none of this number."""
        return self.installations.setdefault(number, Installation(id=number))

    def asked(self, part: str = "", *, method: str = "") -> list[str]:
        """Return the paths of the calls that were made, with their queries, that have this part."""
        return [path for verb, path in self.calls if part in path and method in ("", verb)]

    def answer(self, method: str, target: str, headers: Any, body: bytes = b"") -> Answer:
        path = urlsplit(target).path.removeprefix(self.prefix)
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        with self._lock:
            self.calls.append((method, target))
            if found := _CONVERSION.fullmatch(path):
                made = self.codes.pop(found["code"], None) if method == "POST" else None
                return (201, made, {}) if made else installations.missing()
            own = self._signed_by(headers.get("Authorization", ""))
            refused, limit = (None, own.limit) if own else self._check(path, headers.get("Authorization", ""))
            if refused is None and not limit.take():
                refused = 403, {"message": "API rate limit exceeded for this App or user."}, {}
            if refused is None and own is not None:
                call = Call(url=self.url, method=method, path=path, query=query, body=body)
                given = installations.answer(own, call)
                status, said, more = installations.with_etag(method, given, headers.get("If-None-Match"))
                limit.used -= status == 304  # It costs no call.
            else:
                status, said, more = refused or self._route(method, path, query)
            return status, said, {"Date": format_datetime(self.now(), usegmt=True), **limit.headers(), **more}

    def _signed_by(self, authorization: str) -> Installation | None:
        """Return the installation whose token signs a call, if it has not ended."""
        token = authorization.partition(" ")[2]
        return next(
            (one for one in self.installations.values() if one.tokens.get(token, self.now()) > self.now()), None
        )

    def fault(self, target: str) -> Fault | None:
        with self._lock:
            found = next((fault for fault in self.faults if fault.times and fault.only in target), None)
            if found is not None:
                found.times -= 1
            return found

    def _check(self, path: str, authorization: str) -> tuple[Answer | None, Limit]:
        """Return the refusal, if it is one, and the limit that the call counts against."""
        scheme, _, token = authorization.partition(" ")
        if path == "/app" or path.startswith("/app/"):
            why = self.app.why_refused(token) if scheme == "Bearer" else "A JSON web token could not be decoded"
            return (401, {"message": why}, {}) if why else None, self.limits["app"]
        if scheme.lower() not in ("token", "bearer") or token not in self.limits:
            return (401, {"message": "Bad credentials"}, {}), self.limits[TOKEN]
        return None, self.limits[token]

    def _route(self, method: str, path: str, query: Mapping[str, str]) -> Answer:
        if (number := installations.minted(path)) is not None and method == "POST":
            own_installation = self.installations.get(number)
            return own_installation.mint(self.now()) if own_installation else installations.missing()
        if path == "/app":
            created = self.hooks[APP].created_at if APP in self.hooks else self.now()
            return 200, {"id": self.app.number, "created_at": created.isoformat()}, {}
        if found := _DELIVERIES.fullmatch(path):
            hook = self.hooks.get(found["hook"])
            return self._of_log(method, hook, found["rest"], query) if hook else installations.missing()
        own = self.hooks.get(path.strip("/"))
        return (
            (200, {"id": own.hook_id, "created_at": own.created_at.isoformat()}, {}) if own else installations.missing()
        )

    def _of_log(self, method: str, hook: Hook, rest: str, query: Mapping[str, str]) -> Answer:
        if not rest and method == "GET":
            return self._page(hook, query)
        number, _, attempts = rest.strip("/").partition("/")
        entry = hook.entry(int(number)) if number.isdecimal() else None
        if entry is None:
            return installations.missing()
        if attempts == "attempts" and method == "POST":
            hook.send_again(entry)
            return 202, {}, {}
        return (200, entry.in_full(), {}) if method == "GET" and not attempts else installations.missing()

    def _page(self, hook: Hook, query: Mapping[str, str]) -> Answer:
        cursor, size = query.get("cursor", ""), min(LARGEST_PAGE, int(query.get("per_page", DEFAULT_PAGE)))
        after = _CURSOR.fullmatch(cursor)
        if (cursor and not after) or query.get("status", "success") not in ("success", "failure"):
            return 422, {"message": "Validation Failed"}, {}
        entries = hook.entries(status=query.get("status", ""))
        if after:
            entries = _behind(entries, int(after[1]))
        page = [entry.in_list() for entry in entries[:size]]
        if len(entries) <= size:
            return 200, page, {}
        following = urlencode({**query, "per_page": size, "cursor": f"v1_{page[-1]['id']}"})
        link = f'<{self.url}/{hook.path}/deliveries?{following}>; rel="next"'
        return 200, page, {"Link": link}


def _behind(entries: list[Entry], last_id: int) -> list[Entry]:
    """Return what comes after the last entry of the page before, which may have left the log meanwhile."""
    places = [place for place, entry in enumerate(entries) if entry.id == last_id]
    return entries[places[0] + 1 :] if places else []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second would wait 40 ms for the client to acknowledge the first.
    disable_nagle_algorithm = True
    github: GitHub

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body, headers = self.github.answer(self.command, self.path, self.headers, sent)
        fault = self.github.fault(self.path)
        if fault is not None and fault.silent_seconds:
            time.sleep(fault.silent_seconds)
        elif fault is not None and fault.is_dropped:
            self.close_connection = True
            return
        elif fault is not None:
            status, body, headers = fault.status, fault.answer(), {**headers, **fault.headers}
        text = fault.body if fault is not None and fault.body is not None else json.dumps(body).encode()
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0" if status == 304 else str(len(text)))
        self.end_headers()
        if status != 304:
            self.wfile.write(text)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  The name is the library's.

    def log_message(self, *_arguments: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that was killed, or waits no longer, is no error of the stand-in."""


@contextmanager
def serving(github: GitHub) -> Iterator[GitHub]:
    """Serve the API until the end of the block."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": github}))
    github.url = f"http://127.0.0.1:{server.server_port}{github.prefix}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
