import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chat import handlers
from webhooks.testing import event, run_handler


@pytest.fixture
def chat(monkeypatch):
    """A server in the chat's place, which answers with `chat.status` and notes the keys that it was sent."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            server.keys.append(self.headers["Idempotency-Key"])
            self.send_response(server.status)
            self.send_header("Retry-After", server.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.status, server.retry_after, server.keys = 200, "", []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setattr(handlers, "URL", f"http://127.0.0.1:{server.server_port}/messages")
    yield server
    handlers.http.clear()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "retry_after", "kind", "after"),
    [
        (200, "", "succeeded", 0),
        (429, "17", "retry_later", 17),
        (503, "", "retry_later", 60),
        (500, "Wed, 21 Oct 2026 07:28:00 GMT", "retry_later", 60),
        (404, "", "gave_up", 0),
        (410, "", "gave_up", 0),
        (400, "", "failed", 0),
    ],
)
def test_each_answer_has_its_outcome(chat, status, retry_after, kind, after):
    chat.status, chat.retry_after = status, retry_after
    outcome = run_handler(handlers.tell, event("issues", action="opened"))
    assert (outcome.kind, outcome.after_seconds) == (kind, after)


def test_a_chat_that_is_away_is_tried_again_like_any_error(monkeypatch):
    monkeypatch.setattr(handlers, "URL", "http://127.0.0.1:1/messages")
    assert run_handler(handlers.tell, event("issues", action="opened")).kind == "failed"


def test_every_run_sends_the_same_key(chat, deliver):
    assert deliver("issues", action="opened")["chat.tell"].message.startswith("told of #")
    opened = event("issues", action="opened")
    for attempt in (1, 2):
        run_handler(handlers.tell, opened, attempt=attempt)
    assert chat.keys[1:] == [opened.idempotency_key] * 2
