from greeting import handlers
from webhooks.testing import event, run_handler


def test_a_pull_request_is_greeted_once_however_often_the_handler_runs(monkeypatch):
    comments = []

    def github(method, url, content=None):
        assert url.endswith("/repos/acme/widgets/issues/7/comments")
        return [*comments] if method == "GET" else comments.append(content)

    monkeypatch.setattr(handlers, "call", github)
    opened = event("pull_request", number=7, sender={"login": "ana"})
    assert run_handler(handlers.greet, opened).message == "greeted #7"
    assert run_handler(handlers.greet, opened, attempt=2).message == "#7 was greeted by an earlier run"
    assert [comment["body"].splitlines()[0] for comment in comments] == ["Welcome, ana!"]


def test_a_delivery_has_it_run(deliver, monkeypatch):
    monkeypatch.setattr(handlers, "call", lambda *_: [])
    assert deliver("pull_request", action="opened")["greeting.greet"].kind == "succeeded"
