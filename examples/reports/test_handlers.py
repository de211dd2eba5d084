from reports import handlers
from webhooks.testing import event, run_handler

ASKED = event("repository_dispatch", payload={"action": "report", "client_payload": {"pages": 3}})


def test_a_report_is_written(monkeypatch):
    written = []
    monkeypatch.setattr(handlers, "write_page", lambda: written.append("page"))
    assert run_handler(handlers.write_report, ASKED).message == "3 pages"
    assert len(written) == 3


def test_it_is_handed_back_when_the_worker_is_to_stop(monkeypatch):
    written = []
    monkeypatch.setattr(handlers, "write_page", lambda: written.append("page"))
    outcome = run_handler(handlers.write_report, ASKED, stopping=lambda: len(written) == 2)
    assert (outcome.kind, outcome.message, outcome.after_seconds) == ("retry_later", "the worker is to stop", 0)


def test_a_delivery_has_it_run_on_its_own_queue(deliver, monkeypatch):
    from webhooks.models import Job

    monkeypatch.setattr(handlers, "write_page", lambda: None)
    outcomes = deliver("repository_dispatch", payload=ASKED.payload)
    assert outcomes["reports.write_report"].kind == "succeeded"
    assert Job.objects.get().queue == "slow"
